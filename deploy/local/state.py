"""The state of `make up` besides the stores: secrets, ports and the lock. Only the owner may read it."""

import fcntl
import os
import secrets
from base64 import b64encode
from pathlib import Path
from typing import Any

import orjson

from deploy.local.processes import end_leftover, free_port, port_is_free


class DirectoryTaken(Exception):
    """This data directory cannot be used, for another launcher runs on it or its files cannot be read or written."""


class LocalState:
    """`<data-dir>/state.json`.

    Ports are kept so that logs, bookmarks and the agent's frozen tool URL stay true over a restart.
    """

    def __init__(self, data_dir: Path) -> None:
        """Takes the directory.

        Raises DirectoryTaken. Ends what a killed launcher left behind, so that its ports are free again.
        """
        try:
            data_dir.mkdir(parents=True, exist_ok=True)
            self.data_dir = data_dir.resolve()
            self._lock = os.open(self.data_dir / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise DirectoryTaken(f"{data_dir} cannot be used: {error.strerror}; choose another --data-dir") from None
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self._lock)
            raise DirectoryTaken(
                f"another `make up` uses {self.data_dir}: end it with Ctrl-C, or choose another --data-dir and --port"
            ) from None
        self._file = self.data_dir / "state.json"
        try:
            self._values = _read(self._file)
        except ValueError:
            os.close(self._lock)
            raise DirectoryTaken(
                f"{self._file} is damaged, and it holds the secrets of the data beside it: put it back, choose another "
                "--data-dir, or remove the directory"
            ) from None
        for pid_file in self.data_dir.rglob("*.pid"):
            end_leftover(pid_file)

    def close(self) -> None:
        os.close(self._lock)

    @property
    def internal_token(self) -> str:
        return str(self._get("internalToken", lambda: secrets.token_urlsafe(32)))

    @property
    def tool_secrets_key(self) -> str:
        """What the secrets of agents' tools are encrypted with."""
        return str(self._get("toolSecretsKey", lambda: b64encode(secrets.token_bytes(32)).decode()))

    @property
    def secret_key(self) -> str | None:
        value = self._values.get("secretKey")
        return value if isinstance(value, str) else None

    @secret_key.setter
    def secret_key(self, value: str) -> None:
        """Also on its own in `<data-dir>/key`, for commands to be pasted: `$(cat .parley/key)`."""
        self._values["secretKey"] = value
        self._write()
        _write_bytes(self.data_dir / "key", value.encode() + b"\n")

    def widget_key(self, origin: str) -> str | None:
        """The publishable key of the demo page, if it was made for this origin."""
        value = self._values.get("widgetKey")
        return str(value["secret"]) if isinstance(value, dict) and value.get("origin") == origin else None

    def keep_widget_key(self, origin: str, secret: str) -> None:
        self._values["widgetKey"] = {"origin": origin, "secret": secret}
        self._write()

    def note_running(self, public_url: str, database: str) -> None:
        """For commands with `--local`: where clients ask, and which database history uses."""
        self._values |= {"publicUrl": public_url, "database": database}
        self._write()

    def port(self, name: str) -> int:
        """The port that `name` had at the last start, or a new one where that is taken."""
        ports = self._get("ports", dict)
        port = ports.get(name)
        if not isinstance(port, int) or not port_is_free(port):
            port = ports[name] = free_port()
            self._write()
        return port

    def _get(self, name: str, make: Any) -> Any:
        if name not in self._values:
            self._values[name] = make()
            self._write()
        return self._values[name]

    def _write(self) -> None:
        write_private(self._file, self._values)


def write_private(path: Path, value: Any) -> None:
    """One JSON object, mode 0600, never half written."""
    _write_bytes(path, orjson.dumps(value, option=orjson.OPT_INDENT_2) + b"\n")


def _write_bytes(path: Path, content: bytes) -> None:
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
    beside.replace(path)


def _read(path: Path) -> dict[str, Any]:
    """Empty at the first start. Raises ValueError for what is no JSON object."""
    try:
        value = orjson.loads(path.read_bytes())
    except FileNotFoundError:
        return {}
    if not isinstance(value, dict):
        raise ValueError
    return value
