"""The configuration file of `parley`: profiles with a server's URL and a key. Only its owner may read it."""

import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import orjson

from deploy.cli.exits import CliError, Exit

DEFAULT_URL: Final = "http://127.0.0.1:8080"
DEFAULT_PROFILE: Final = "default"
API: Final = "/api/v1"


@dataclass(kw_only=True)
class Profile:
    url: str
    key: str = field(repr=False)


@dataclass(frozen=True, kw_only=True)
class Target:
    """Where a command goes. `key` None: only what needs no key can be asked."""

    url: str
    key: str | None = field(repr=False)
    profile: str | None = None

    @property
    def api(self) -> str:
        return self.url + API


class Config:
    def __init__(self, file: Path) -> None:
        self.file = file
        self.profiles: dict[str, Profile] = {}
        self.current = DEFAULT_PROFILE

    @classmethod
    def read(cls, environment: Mapping[str, str] = os.environ) -> "Config":
        """Raises CliError for a file that others may read, or that is not what `parley login` writes."""
        config = cls(config_file(environment))
        try:
            mode = config.file.stat().st_mode
            content = config.file.read_bytes()
        except FileNotFoundError:
            return config
        except OSError as error:
            raise CliError(f"{config.file}: {error.strerror}", Exit.BAD_FILE) from None
        if mode & (stat.S_IRWXG | stat.S_IRWXO):
            raise CliError(f"{config.file} can be read by others: chmod 600 {config.file}", Exit.BAD_FILE)
        try:
            value = orjson.loads(content)
            config.profiles = {name: Profile(**profile) for name, profile in value["profiles"].items()}
            config.current = value["current"]
        except (orjson.JSONDecodeError, KeyError, TypeError, AttributeError):
            raise CliError(f"{config.file} is not valid: remove it and run `parley login`", Exit.BAD_FILE) from None
        return config

    def write(self) -> None:
        """Never half written, and with mode 600 from its first byte on."""
        self.file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        profiles = {name: {"url": profile.url, "key": profile.key} for name, profile in self.profiles.items()}
        write_whole(self.file, {"current": self.current, "profiles": profiles}, 0o600)

    def target(self, url: str | None, profile: str | None, environment: Mapping[str, str] = os.environ) -> Target:
        """An option wins over PARLEY_URL, PARLEY_API_KEY and PARLEY_PROFILE, and these win over the current profile.

        A profile's key is sent to the profile's own server only.
        """
        name = profile or environment.get("PARLEY_PROFILE") or self.current
        known = self.profiles.get(name)
        if known is None and (profile or environment.get("PARLEY_PROFILE")):
            raise CliError(f"there is no profile {name}; there is {', '.join(self.profiles) or 'none'}", Exit.USAGE)
        # A profile that was named on the command line is meant whole.
        outer = {} if profile else environment
        wanted = url or outer.get("PARLEY_URL") or (known.url if known else DEFAULT_URL)
        address = normal_url(wanted)
        key = outer.get("PARLEY_API_KEY")
        if not key and known is not None and known.url == address:
            return Target(url=address, key=known.key, profile=name)
        return Target(url=address, key=key or None)


def config_file(environment: Mapping[str, str]) -> Path:
    given = environment.get("PARLEY_CONFIG")
    if given:
        return Path(given)
    home = environment.get("XDG_CONFIG_HOME") or str(Path.home() / ".config")
    return Path(home) / "parley" / "config.json"


def normal_url(text: str) -> str:
    """A server's base URL, with or without `/api/v1` at its end. Raises CliError."""
    address = text.strip().rstrip("/").removesuffix(API)
    parts = urlsplit(address)
    if (
        parts.scheme not in ("http", "https")
        or not parts.hostname
        or parts.query
        or parts.fragment
        or "@" in parts.netloc
    ):
        raise CliError(f"{text} is not the URL of a server: write http://host:port or https://host", Exit.USAGE)
    return address


def write_whole(file: Path, value: Mapping[str, Any], mode: int) -> None:
    """One JSON object. A process that is killed leaves the old content or the new one."""
    beside = file.with_name(f".{file.name}.{os.getpid()}")
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    with os.fdopen(descriptor, "wb") as out:
        out.write(orjson.dumps(value, option=orjson.OPT_INDENT_2) + b"\n")
    beside.replace(file)
