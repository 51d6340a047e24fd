"""Typed clients, generated from the API document: they compile, and drive a turn that is cut and resumed."""

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any, Final

import orjson
import pytest

from deploy.demo.scripted import scripted_answer
from services.gateway.route_table import openapi_document
from tests.programs import required_program
from tests.system.openai import python_client
from tests.system.openai.client_program import program
from tests.system.openai.node_client import Node
from tests.system.stack import Stack

HERE: Final = Path(__file__).parent
NODE: Final = HERE / "node"
PYTHON: Final = HERE / "python"
TOKENS: Final = 60
MODEL: Final = f"scripted/tokens={TOKENS},delay=4,text=echo"


@pytest.fixture
def document(tmp_path: Path) -> Path:
    path = tmp_path / "openapi.json"
    path.write_bytes(orjson.dumps(openapi_document()))
    return path


def done(command: list[str], cwd: Path) -> str:
    """What the command prints. It must succeed."""
    run = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=120, check=False)
    assert run.returncode == 0, run.stdout + run.stderr
    return run.stdout + run.stderr


async def config(stack: Stack, **more: Any) -> dict[str, Any]:
    facts = stack.facts
    agent_id = await stack.publish(MODEL)
    return {"baseUrl": facts["gateways"][0], "apiKey": facts["secretKey"], "agentId": agent_id, "cutAfter": 20} | more


def check(seen: dict[str, Any]) -> None:
    answer = scripted_answer("hello", TOKENS)
    assert (seen["text"], seen["stored"], seen["status"]) == (answer, answer, "completed")
    assert seen["events"][:2] == ["queued", "started"]
    assert seen["events"][-1] == "done"
    # The cut came in the middle, and what follows it was read from the second stream.
    assert seen["cutAt"] not in ("", None)
    assert seen["roles"] == ["user", "assistant"]
    assert seen["problem"] == "session_not_found"


@pytest.mark.timeout(240)  # Of which a clean checkout needs the most for the installation.
async def test_a_client_of_openapi_typescript_compiles_and_resumes_a_cut_turn(
    stack: Stack, document: Path, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    required_program("node", "nodejs")
    required_program("npm", "npm")
    (tmp_path / "node_modules").symlink_to(Node.install(tmp_path_factory, NODE) / "node_modules")
    for name in ("package.json", "tsconfig.json", "client.ts", "node.d.ts"):
        shutil.copy(NODE / name, tmp_path)
    tools = tmp_path / "node_modules" / ".bin"
    done([str(tools / "openapi-typescript"), str(document), "-o", "api.d.ts", "--default-non-nullable=false"], tmp_path)
    done([str(tools / "tsc"), "-p", "."], tmp_path)
    async with program("node", "client.js", cwd=tmp_path, config=await config(stack)) as documents:
        check([document async for document in documents][-1])


@pytest.mark.timeout(360)
async def test_a_client_of_openapi_python_client_compiles_and_resumes_a_cut_turn(
    stack: Stack, document: Path, tmp_path: Path
) -> None:
    python = python_client.installed("generated", PYTHON)
    package = tmp_path / "package"
    package.mkdir()
    generate = [str(python), "-m", "openapi_python_client", "generate", "--path", str(document), "--meta", "none"]
    settings = ["--config", str(PYTHON / "generated" / "config.yml"), "--output-path", str(package / "parley_client")]
    said = done([*generate, *settings], tmp_path)
    # Of another protocol's bodies, a generator need not understand everything.
    assert set(re.findall(r"WARNING parsing .* within (\w+)\.", said)) <= {"faces"}, said
    done([str(python), "-m", "compileall", "-q", str(package)], tmp_path)
    async with python_client.start(python, "generated", await config(stack, package=str(package)), PYTHON) as documents:
        seen = [document async for document in documents][-1]
    check(seen)
    assert seen["modules"] > 200
