"""Programs that some tests start and that no lock file brings: found, or the test says what is missing."""

import os
import shutil
from typing import Final

import pytest

# A user's PATH on Debian has no /usr/sbin, where nginx lies.
_SEARCHED: Final = os.pathsep.join((os.environ.get("PATH", os.defpath), "/usr/sbin", "/usr/local/sbin"))


def program_path(name: str) -> str | None:
    return shutil.which(name, path=_SEARCHED)


def required_program(name: str, package: str) -> str:
    """The program's path. Where it is missing, the test is skipped; on CI (`CI=true`) it fails."""
    found = program_path(name)
    if found is not None:
        return found
    message = f"{name} is not installed, so this was not tested. Debian and Ubuntu: apt-get install {package}"
    if os.environ.get("CI", "").lower() in {"1", "true"}:
        pytest.fail(f"{message}. On CI a missing program is a failure.", pytrace=False)
    pytest.skip(message)
