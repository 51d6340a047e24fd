"""Every variable that history reads."""

from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import BeforeValidator, Field, SecretStr, ValidationError, field_validator, model_validator

from services.history.mongo.address import check
from services.history.mongo.driver import DriverName
from shared.contracts.keys import is_secret
from shared.contracts.prices import PriceTable
from shared.ids import is_name
from shared.object_file import read_object
from shared.settings import MIN_TOKEN, Settings, split_list
from shared.upstreams import described_upstreams
from shared.web.guard_rules import AllowList, OutgoingPolicy


class HistorySettings(Settings):
    """What history needs besides the settings of every process."""

    port: int = Field(8082, description="port to listen on")
    mongodb_uri: str = Field(
        "mongodb://127.0.0.1:27017",
        description="MongoDB: `mongodb://` or `mongodb+srv://`; a replica set or a sharded cluster in production",
    )
    mongodb_database: str = Field("parley", description="name of the database")
    mongodb_driver: DriverName = Field(
        "motor",
        description="the MongoDB driver: `motor`, or `pymongo`, which is PyMongo's own asynchronous client",
    )
    internal_token_before: SecretStr = Field(
        SecretStr(""),
        description="the internal token before the present one, while processes that have it are being restarted",
    )
    max_tries: int = Field(
        3, description="attempts at a turn before it fails; an attempt that a drain gives back does not count", ge=1
    )
    queue_timeout_s: float = Field(3600.0, description="how long a turn may wait for its first worker, seconds", gt=0)
    reconcile_interval_s: float = Field(2.0, description="how often lost turns are looked for, seconds", gt=0)
    completion_keep_s: float = Field(
        604_800.0, description="how long the digest and usage of an erased completion are kept, seconds", gt=0
    )
    checks_concurrency: int = Field(4, description="turns of checks that run at once, over all runs", ge=1)
    checks_judge_model: str = Field("", description="the model that judges rubrics of checks; empty: no rubrics")
    checks_judge_upstream: str = Field("default", description="the upstream of that model")
    check_runs_keep_s: float = Field(7_776_000.0, description="how long runs of checks are kept, seconds", gt=0)
    upstreams: Annotated[dict[str, Any], BeforeValidator(described_upstreams)] = Field(
        default_factory=dict,
        description="the upstreams that agents may name: JSON, or the path of a JSON or TOML file; history needs "
        "their names",
    )
    prices_file: str = Field(
        "", description="the price table: a JSON or TOML file, read at start; empty: the cost of every turn is unknown"
    )
    s3_bucket: str = Field(
        "",
        description="bucket of an S3-compatible store for the files of knowledge sources; needs requirements-s3; "
        "empty: they are in MongoDB (GridFS)",
    )
    s3_endpoint: str = Field("", description="URL of the S3-compatible store; empty: Amazon's")
    s3_region: str = Field("", description="region of the bucket; empty: AWS_REGION")
    s3_prefix: str = Field("", description="what the names of all objects begin with, as a folder")
    s3_access_key_id: str = Field("", description="access key; empty: AWS' own variables or the machine's role")
    s3_secret_access_key: SecretStr = Field(SecretStr(""), description="its secret")

    transcript_search: bool = Field(
        True,
        description="sessions can be found by what was said in them (`GET /chat/sessions?q=`); off: turns end without "
        "an index entry for each of their words",
    )

    tool_allow: str = Field(
        "",
        description="the workers' setting: with it, or the one below, history refuses tools and knowledge at addresses "
        "that the workers may not reach; with neither, only the workers refuse them",
    )
    tool_ports: str = Field("80,443,8080,8443", description="the workers' setting")
    webhook_allow: str = Field(
        "",
        description="hosts (name or name:port) and networks, comma separated, that webhooks may reach although they "
        "are not public",
    )
    webhook_ports: str = Field("80,443,8080,8443", description="ports that webhooks may reach, comma separated")
    webhook_timeout_s: float = Field(15.0, description="how long a webhook's receiver may take, seconds", gt=0, le=60)
    webhook_retry_s: float = Field(
        5.0, description="pause before the second try of a delivery, seconds; four times as long each time", gt=0
    )
    webhook_give_up_s: float = Field(
        86_400.0, description="age from which a delivery that fails is a dead letter, seconds", gt=0
    )
    webhook_disable_after_s: float = Field(
        432_000.0, description="how long every delivery must fail before an endpoint is disabled, seconds", gt=0
    )
    webhook_deliveries_keep_s: float = Field(
        2_592_000.0, description="how long delivered events and dead letters are kept, seconds", gt=0
    )

    bootstrap_key: SecretStr = Field(
        SecretStr(""),
        description="a secret key with all scopes, stored at the first start; later starts change nothing",
    )
    bootstrap_workspace: str = Field("default", description="the workspace of the bootstrap key")

    @field_validator("internal_token_before")
    @classmethod
    def _is_long_enough(cls, value: SecretStr) -> SecretStr:
        if 0 < len(value.get_secret_value()) < MIN_TOKEN:
            raise ValueError(f"must have at least {MIN_TOKEN} characters, or none")
        return value

    @property
    def accepted_tokens(self) -> tuple[str, ...]:
        """The internal tokens with which calls are answered."""
        tokens = self.internal_token.get_secret_value(), self.internal_token_before.get_secret_value()
        return tuple(token for token in tokens if token)

    @field_validator("bootstrap_key")
    @classmethod
    def _is_a_secret_key(cls, value: SecretStr) -> SecretStr:
        text = value.get_secret_value()
        if text and not (text.startswith("parley_sk_") and is_secret(text)):
            raise ValueError("must be a secret key, parley_sk_live_… or parley_sk_test_…")
        return value

    @field_validator("mongodb_uri")
    @classmethod
    def _names_a_mongodb(cls, uri: str) -> str:
        check(uri)
        return uri

    @field_validator("prices_file")
    @classmethod
    def _is_a_price_table(cls, value: str) -> str:
        prices_of(value)
        return value

    @cached_property
    def prices(self) -> PriceTable:
        return prices_of(self.prices_file)

    @field_validator("bootstrap_workspace")
    @classmethod
    def _names_a_workspace(cls, value: str) -> str:
        if not is_name(value):
            raise ValueError("must be 1 to 64 of the characters A-Z a-z 0-9 _ -")
        return value

    @model_validator(mode="after")
    def _check_s3(self) -> Self:
        if self.s3_bucket and bool(self.s3_access_key_id) != bool(self.s3_secret_access_key.get_secret_value()):
            raise ValueError("PARLEY_S3_ACCESS_KEY_ID and PARLEY_S3_SECRET_ACCESS_KEY belong together")
        return self

    @model_validator(mode="after")
    def _check_webhooks(self) -> Self:
        _ = self.webhook_policy, self.tool_policy
        return self

    @property
    def webhook_policy(self) -> OutgoingPolicy:
        """Raises ValueError."""
        return _policy(self.webhook_allow, self.webhook_ports)

    @property
    def tool_policy(self) -> OutgoingPolicy | None:
        """None: history was not told what the workers may reach. Raises ValueError."""
        if not self.model_fields_set & {"tool_allow", "tool_ports"}:
            return None
        return _policy(self.tool_allow, self.tool_ports)

    @property
    def upstream_names(self) -> frozenset[str]:
        """Empty: history was not told, so agents may name any."""
        return frozenset({"default", *self.upstreams}) if self.upstreams else frozenset()


def _policy(allow: str, ports: str) -> OutgoingPolicy:
    numbers = frozenset(int(port) for port in split_list(ports))
    return OutgoingPolicy(allow=AllowList.parse(split_list(allow)), ports=numbers)


def prices_of(path: str) -> PriceTable:
    """Raises ValueError, whose text names the file and the members at fault."""
    if not path:
        return PriceTable()
    found = read_object(Path(path))
    try:
        return PriceTable.model_validate(found)
    except ValidationError as error:
        faults = [f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in error.errors(include_input=False)]
        raise ValueError(f"the file {path} holds no price table: {'; '.join(faults[:5])}") from None
