"""The import rules, held by reading the code: who may know whom, and which library has one home."""

import ast
from collections.abc import Iterator
from pathlib import Path
from statistics import median

import pytest

ROOT = Path(__file__).resolve().parents[1]
PRODUCT = [*sorted((ROOT / "services").rglob("*.py")), *sorted((ROOT / "shared").rglob("*.py"))]
SERVICES = {"gateway", "agent_worker", "history"}
# Where a library, or the environment, may be used at all.
HOMES = {
    "motor": {"services/history/mongo/motor_driver.py"},
    "pymongo": {"services/history/mongo"},
    "bson": {"services/history/mongo"},
    "openai": {"services/agent_worker/model/connection.py"},
    "arq": {"shared/turn_queue/queue.py"},
    "cryptography": {"shared/secrets.py"},
    "re2": {"shared/patterns.py"},
    "markdown_it": {"services/agent_worker/ingest", "deploy/site"},
    "mcp": {"services/agent_worker/tools/mcp_client.py"},
}


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def imports_of(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def top_of(module: str) -> str:
    return module.split(".", maxsplit=1)[0]


@pytest.mark.parametrize("path", PRODUCT, ids=name_of)
def test_services_and_shared_know_only_whom_they_may(path: Path) -> None:
    own = path.relative_to(ROOT).parts
    for module in imports_of(path):
        parts = module.split(".")
        assert parts[0] not in {"deploy", "tests"}, f"the product does not know {module}"
        if parts[0] == "services":
            assert own[0] == "services", f"shared does not know {module}"
            assert parts[1] == own[1], f"a service never imports another: {module}"


@pytest.mark.parametrize("path", sorted((ROOT / "shared" / "contracts").rglob("*.py")), ids=name_of)
def test_contracts_import_the_standard_library_and_the_model_library_only(path: Path) -> None:
    for module in imports_of(path):
        assert not module.startswith("shared.") or module.startswith("shared.contracts."), module
        assert top_of(module) not in {"aiohttp", "redis", "structlog", "asyncio", "time"}, module


@pytest.mark.parametrize("path", PRODUCT, ids=name_of)
def test_each_library_has_one_home(path: Path) -> None:
    for module in imports_of(path):
        home = HOMES.get(top_of(module))
        rooms = {name_of(path), name_of(path.parent)}
        assert home is None or rooms & home, f"{module} belongs into {home}"


@pytest.mark.parametrize("path", PRODUCT, ids=name_of)
def test_the_environment_is_read_in_one_place(path: Path) -> None:
    if name_of(path) == "shared/settings.py":
        return
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "os":
            assert node.attr not in {"environ", "getenv"}


PURE = [ROOT / "services/agent_worker/turns/state.py", *sorted((ROOT / "shared" / "contracts").rglob("*.py"))]


@pytest.mark.parametrize("path", PURE, ids=name_of)
def test_what_decides_neither_awaits_nor_reads_a_clock_nor_logs(path: Path) -> None:
    source = ast.parse(path.read_text())
    assert not [node for node in ast.walk(source) if isinstance(node, ast.Await | ast.AsyncFunctionDef)]
    forbidden = {"time", "asyncio", "structlog", "shared.log.get_logger", "random"}
    assert not forbidden & set(imports_of(path))


def test_the_services_are_those_of_the_design() -> None:
    assert {
        path.name for path in (ROOT / "services").iterdir() if path.is_dir() and path.name != "__pycache__"
    } == SERVICES


# Which rooms of the gateway a room may import, beside itself. The modules at the gateway's top are named too.
GATEWAY_ARROWS = {
    "edge": set(),
    "streaming": {"edge", "dependencies"},
    "api": {"edge", "streaming", "widget", "call"},
    "completions": {"edge", "streaming", "call", "dependencies"},
    "faces": {"edge", "streaming", "call", "dependencies"},
    "widget": {"edge", "dependencies"},
    "site": set(),
    "console": {"edge", "settings"},
    "admin": {"settings"},
}


@pytest.mark.parametrize("room", GATEWAY_ARROWS)
def test_a_room_of_the_gateway_imports_only_the_rooms_below_it(room: str) -> None:
    allowed = GATEWAY_ARROWS[room] | {room}
    for path in sorted((ROOT / "services" / "gateway" / room).rglob("*.py")):
        for module in imports_of(path):
            if module.startswith("services.gateway."):
                assert module.split(".")[2] in allowed, f"{name_of(path)} imports {module}"


FACES = ROOT / "services" / "gateway" / "faces"


@pytest.mark.parametrize("face", sorted(each.parent.name for each in FACES.glob("*/__init__.py")))
def test_a_face_knows_no_other_face(face: str) -> None:
    """What several faces need stands beside their folders."""
    others = {each.parent.name for each in FACES.glob("*/__init__.py")} - {face}
    for path in sorted((FACES / face).rglob("*.py")):
        for module in imports_of(path):
            if module.startswith("services.gateway.faces."):
                assert module.split(".")[3] not in others, f"{name_of(path)} imports {module}"


# Which rooms of its own service a room may import. The files at a service's top know all of them.
ARROWS: dict[str, set[str]] = {
    "services/history/mongo": set(),
    "services/history/workspaces": {"mongo", "audit", "erasures", "turns"},
    "services/history/keys": {"mongo", "agents", "audit", "workspaces"},
    "services/history/knowledge": {"mongo", "audit", "webhooks"},
    "services/history/backups": {"mongo", "knowledge", "usage"},
    "services/history/audit": {"mongo"},
    "services/history/agents": {"mongo", "knowledge", "audit", "webhooks"},
    "services/history/usage": {"mongo"},
    "services/history/budgets": {"mongo", "agents", "audit", "usage", "webhooks"},
    "services/history/turns": {"mongo", "agents", "audit", "budgets", "usage", "webhooks"},
    "services/history/checks": {"mongo", "agents", "audit", "turns"},
    "services/history/sessions": {"mongo", "agents", "audit", "turns", "webhooks"},
    "services/history/webhooks": {"mongo", "audit"},
    "services/history/widget": {"mongo", "agents", "audit"},
    "services/history/erasures": {"mongo", "agents", "audit", "budgets", "sessions", "turns", "usage"},
    "services/history/reconcile": {"mongo", "budgets", "turns"},
    "services/history/api": {
        "agents",
        "audit",
        "budgets",
        "checks",
        "erasures",
        "webhooks",
        "widget",
        "keys",
        "knowledge",
        "sessions",
        "turns",
        "usage",
        "workspaces",
    },
    "services/agent_worker/model": set(),
    "services/agent_worker/tools": set(),
    "services/agent_worker/ingest": {"knowledge"},
    "services/agent_worker/knowledge": set(),
    "services/agent_worker/guardrails": {"tools"},
    "services/agent_worker/turns": {"model", "tools", "knowledge", "guardrails"},
}
ROOMS = {room.name for room in (ROOT / "services").glob("*/*") if (room / "__init__.py").exists()}


@pytest.mark.parametrize("room", ARROWS)
def test_rooms_import_in_one_direction(room: str) -> None:
    _, service, own = room.split("/")
    assert (ROOT / room).is_dir()
    for path in (ROOT / room).rglob("*.py"):
        for module in imports_of(path):
            parts = module.split(".")
            if parts[:2] == ["services", service] and len(parts) > 3 and parts[2] in ROOMS:
                assert parts[2] in {own, *ARROWS[room]}, f"{name_of(path)} must not know {module}"


def _modules() -> dict[str, Path]:
    names = {name_of(path).removesuffix(".py").replace("/", "."): path for path in PRODUCT}
    return {name.removesuffix(".__init__"): path for name, path in names.items()}


def test_no_modules_import_each_other_in_a_circle() -> None:
    modules = _modules()
    graph: dict[str, set[str]] = {}
    for name, path in modules.items():
        found = {imported if imported in modules else imported.rpartition(".")[0] for imported in imports_of(path)}
        graph[name] = {module for module in found if module in modules and module != name}
    left = dict(graph)
    # Takes away what imports nothing that is left; a circle never goes.
    while leaves := [name for name, imported in left.items() if not imported & left.keys()]:
        for name in leaves:
            del left[name]
    assert not left, f"a circle among {sorted(left)}"


def test_files_hold_one_subject() -> None:
    """No file is longer than 300 lines; half of them have at most 110."""
    paths = [path for top in ("services", "shared", "deploy") for path in (ROOT / top).rglob("*.py")]
    sizes = {name_of(path): len(path.read_text().splitlines()) for path in paths}
    assert not {name: size for name, size in sizes.items() if size > 300}
    assert median(size for size in sizes.values() if size) <= 110


def test_every_folder_says_what_lives_there() -> None:
    for path in PRODUCT:
        if path.name == "__init__.py":
            assert ast.get_docstring(ast.parse(path.read_text())), f"{name_of(path)} has no docstring"


def test_the_embedded_database_is_known_to_one_file() -> None:
    for path in PRODUCT:
        if name_of(path) != "services/history/mongo/stand_in.py":
            text = path.read_text().lower().replace("services.history.mongo.stand_in", "")
            assert not [word for word in ("stand-in", "stand_in", "secantus") if word in text], name_of(path)
