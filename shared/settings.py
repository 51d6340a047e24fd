"""Settings come from the environment, `PARLEY_<NAME>` for the field `name`, and are read once per process."""

import os
import ssl
import sys
from base64 import b64decode
from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, field_validator, model_validator

from shared.broker.addresses import check, split_urls
from shared.broker.shards import Shards
from shared.internal_tls import InternalTls
from shared.known_variables import FILE, PREFIX, SECRETS, complaints, own_variables
from shared.redaction_hook import RedactionHook
from shared.webhook_signature import key_of

MIN_TOKEN: Final = 16


class SettingsError(Exception):
    """The environment cannot be used; one line per fault. The lines name variables and hold none of their values."""

    def __init__(self, faults: list[str]) -> None:
        super().__init__("\n".join(faults))


class Settings(BaseModel):
    """What every process reads. A service adds its own fields; a name that no class has is nobody's."""

    model_config = ConfigDict(frozen=True)

    log_level: str = Field("INFO", description="debug, info, warning or error")
    host: str = Field("127.0.0.1", description="address to listen on")
    port: int = Field(0, description="port to listen on")
    internal_token: SecretStr = Field(
        min_length=MIN_TOKEN, description="shared secret between gateway, workers and history"
    )
    queue_redis_url: str = Field(
        "redis://127.0.0.1:6379/0",
        description="queue and outbox: a Redis, or `redis+sentinel://host:26379,host:26379/master-name/0`",
    )
    stream_redis_urls: str = Field(
        "",
        description="run logs and channels: Redis URLs, comma separated; empty: the queue's; all but the first may end "
        "with `#since=2026-12-01T10:00:00Z` or `#until=…`, the time of the first or the last new turns there",
    )
    history_url: str = Field(
        "http://127.0.0.1:8082", description="base URLs of history, comma separated; the next is tried when one fails"
    )
    internal_tls_ca: str = Field(
        "",
        description="authority of the certificates of history and its clients, a PEM file; with the two below, history "
        "speaks TLS and wants a client certificate; empty: plain HTTP",
    )
    internal_tls_cert: str = Field("", description="this process's certificate, a PEM file")
    internal_tls_key: str = Field("", description="its key, a PEM file")
    log_keep_s: float = Field(900.0, description="how long a run log is kept after the turn's end, seconds", gt=0)
    turn_timeout_s: float = Field(300.0, description="a turn's deadline, seconds from its first claim", gt=0)
    lease_s: float = Field(4.0, description="a worker that is silent for so long loses its turns", gt=0)
    drain_s: float = Field(
        30.0, description="how long a worker that is told to stop may finish its turns, seconds", ge=0
    )
    secrets_keys: SecretStr = Field(
        SecretStr(""),
        description="keys for the secrets of agents' tools, comma separated; the first encrypts, all decrypt; "
        "`openssl rand -base64 32` makes one",
    )
    redaction_url: str = Field(
        "", description="the server that redacts texts of agents with `redaction.hook`; history and the workers ask it"
    )
    redaction_secret: SecretStr = Field(SecretStr(""), description="signs the requests to it: `whsec_` and base64")
    redaction_timeout_s: float = Field(2.0, description="how long its answer may take, seconds", gt=0, le=4)
    redaction_on_failure: Literal["refuse", "store"] = Field(
        "refuse", description="what happens to a text that it does not redact: refuse or store"
    )
    otlp_url: str = Field(
        "",
        description="base URL of an OpenTelemetry collector that takes OTLP over HTTP, such as http://collector:4318; "
        "needs requirements-tracing; OTEL_EXPORTER_OTLP_ENDPOINT does the same; empty: no traces",
    )
    uvloop: bool = Field(True, description="run on uvloop")

    @field_validator("queue_redis_url")
    @classmethod
    def _names_a_redis_server(cls, url: str) -> str:
        check(url)
        return url

    @field_validator("stream_redis_urls")
    @classmethod
    def _names_redis_servers(cls, urls: str) -> str:
        for url in Shards(given).urls if (given := split_urls(urls)) else ():
            check(url)
        return urls

    @field_validator("secrets_keys")
    @classmethod
    def _check_keys(cls, keys: SecretStr) -> SecretStr:
        for key in split_list(keys.get_secret_value()):
            try:
                size = len(b64decode(key, altchars="-_" if set(key) & set("-_") else None, validate=True))
            except ValueError:
                size = 0
            if size != 32:
                raise ValueError("must hold keys of 32 bytes in base64, separated by commas")
        return keys

    @model_validator(mode="after")
    def _check_internal_tls(self) -> Self:
        tls = self.internal_tls
        if tls is None:
            if self.internal_tls_ca or self.internal_tls_cert or self.internal_tls_key:
                raise ValueError(f"{PREFIX}INTERNAL_TLS_CA, _CERT and _KEY belong together")
            return self
        try:
            tls.client()
        except OSError as error:
            raise ValueError(f"the files of {PREFIX}INTERNAL_TLS_* cannot be used: {error.strerror}") from None
        if "history_url" in self.model_fields_set and not all(url.startswith("https:") for url in self.history_urls):
            raise ValueError(f"{PREFIX}HISTORY_URL must begin with https:// when {PREFIX}INTERNAL_TLS_CA is set")
        return self

    @field_validator("redaction_secret")
    @classmethod
    def _is_a_signing_secret(cls, value: SecretStr) -> SecretStr:
        try:
            key_of(value.get_secret_value())
        except ValueError:
            raise ValueError("must be whsec_ and base64") from None
        return value

    @classmethod
    def load(cls, environment: Mapping[str, str] | None = None) -> Self:
        """Raises SettingsError for an unknown `PARLEY_*` variable, a missing one and a value that is not valid."""
        given = own_variables(os.environ if environment is None else environment)
        faults = [*complaints(given), *take_from_files(given)]
        try:
            settings = cls.model_validate(
                {name: given[name.upper()] for name in cls.model_fields if name.upper() in given}
            )
        except ValidationError as error:
            # The values are left out: some are secrets, and this text ends up in logs.
            found = error.errors(include_url=False, include_context=False, include_input=False)
            faults += [f"{PREFIX}{str(next(iter(fault['loc']), '*')).upper()}: {_said(fault)}" for fault in found]
            raise SettingsError(faults) from None
        if faults:
            raise SettingsError(faults)
        return settings

    @classmethod
    def load_or_exit(cls) -> Self:
        """For a process's start: a fault ends it with status 2 and the faults on stderr, without a traceback."""
        try:
            return cls.load()
        except SettingsError as error:
            sys.stderr.write(f"{error}\n")
            sys.exit(2)

    @property
    def traces_endpoint(self) -> str | None:
        """Where spans are sent; "": OpenTelemetry's own variables say where; None: nothing is traced."""
        if os.environ.get("OTEL_SDK_DISABLED", "").lower() == "true":
            return None
        if self.otlp_url:
            return f"{self.otlp_url.rstrip('/')}/v1/traces"
        named = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
        return "" if any(os.environ.get(name) for name in named) else None

    @property
    def secret_keys(self) -> tuple[str, ...]:
        return split_list(self.secrets_keys.get_secret_value())

    @property
    def stream_shards(self) -> tuple[str, ...]:
        """The URLs as they were given, with their times."""
        return split_urls(self.stream_redis_urls) or (self.queue_redis_url,)

    @cached_property
    def stream_urls(self) -> tuple[str, ...]:
        return Shards(self.stream_shards).urls

    @property
    def internal_tls(self) -> InternalTls | None:
        """None: the internal API is plain HTTP."""
        files = self.internal_tls_ca, self.internal_tls_cert, self.internal_tls_key
        return InternalTls(*files) if all(files) else None

    @property
    def history_tls(self) -> ssl.SSLContext | None:
        """For clients of history."""
        return self.internal_tls.client() if self.internal_tls is not None else None

    def redaction_hook(self) -> RedactionHook:
        return RedactionHook(
            self.redaction_url,
            self.redaction_secret.get_secret_value(),
            timeout_s=self.redaction_timeout_s,
            fails_open=self.redaction_on_failure == "store",
        )

    @property
    def history_urls(self) -> tuple[str, ...]:
        return split_list(self.history_url)


def take_from_files(given: dict[str, str]) -> Iterator[str]:
    """Gives each secret whose file is named the file's text, without the white space around it.

    One line for each fault.
    """
    for name in sorted(SECRETS):
        path = given.get(name + FILE)
        if not path:
            continue
        if given.get(name):
            yield f"{PREFIX}{name} and {PREFIX}{name}{FILE} are both set"
            continue
        try:
            given[name] = Path(path).read_text("utf-8").strip()
        except (OSError, UnicodeDecodeError, ValueError) as error:
            reason = getattr(error, "strerror", None) or "it is not text in UTF-8"
            yield f"{PREFIX}{name}{FILE}: the file cannot be read: {reason}"


def split_list(text: str) -> tuple[str, ...]:
    """`a, b` → `("a", "b")`."""
    return tuple(part.strip() for part in text.split(",") if part.strip())


def referenced_secret(value: Any) -> Any:
    """A secret that is named instead of written: `env:NAME` a variable, `file:PATH` a file. Raises ValueError."""
    if not isinstance(value, str):
        return value
    kind, _, name = value.partition(":")
    if kind == "env":
        if (found := os.environ.get(name)) is None:
            raise ValueError(f"refers to the variable {name}, which is not set")
        return found
    if kind == "file":
        try:
            return Path(name).read_text("utf-8").strip()
        except OSError as error:
            raise ValueError(f"refers to the file {name}, which cannot be read: {error.strerror}") from None
    return value


def _said(fault: Mapping[str, Any]) -> str:
    return "must be set" if fault["type"] == "missing" else str(fault["msg"]).removeprefix("Value error, ")
