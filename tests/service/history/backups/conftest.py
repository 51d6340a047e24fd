"""One backup for all tests of a file."""

from pathlib import Path

import pytest

from deploy.local.stores import Server
from tests.service.history.backups.rig import Filled, made


@pytest.fixture(scope="module")
def filled(mongodb_server: Server, redis_server: Server, tmp_path_factory: pytest.TempPathFactory) -> Filled:
    folder: Path = tmp_path_factory.mktemp("backups") / "backup"
    return made(mongodb_server.url, redis_server.url, folder)
