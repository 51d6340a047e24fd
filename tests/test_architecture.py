"""The import rules, held by reading the code: who may know whom, and which library has one home."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PRODUCT = [*sorted((ROOT / "services").rglob("*.py")), *sorted((ROOT / "shared").rglob("*.py"))]
SERVICES = {"gateway", "agent_worker", "history"}
# Where a library, or the environment, may be used at all.
HOMES = {
    "motor": {"services/history/mongo"},
    "pymongo": {"services/history/mongo"},
    "bson": {"services/history/mongo"},
    "openai": {"services/agent_worker/model/connection.py"},
    "arq": {"shared/turn_queue/queue.py"},
    "cryptography": {"shared/secrets.py"},
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
    "api": {"edge", "streaming", "call"},
    "completions": {"edge", "streaming", "call", "dependencies"},
}


@pytest.mark.parametrize("room", GATEWAY_ARROWS)
def test_a_room_of_the_gateway_imports_only_the_rooms_below_it(room: str) -> None:
    allowed = GATEWAY_ARROWS[room] | {room}
    for path in sorted((ROOT / "services" / "gateway" / room).rglob("*.py")):
        for module in imports_of(path):
            if module.startswith("services.gateway."):
                assert module.split(".")[2] in allowed, f"{name_of(path)} imports {module}"
