"""Every variable that history reads."""

from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from shared.settings import Settings
from shared.upstreams import described_upstreams


class HistorySettings(Settings):
    """What history needs besides the settings of every process."""

    port: int = Field(8082, description="port to listen on")
    mongodb_uri: str = Field("mongodb://127.0.0.1:27017", description="MongoDB: a replica set in production")
    mongodb_database: str = Field("parley", description="name of the database")
    max_tries: int = Field(
        3, description="attempts at a turn before it fails; an attempt that a drain gives back does not count", ge=1
    )
    queue_timeout_s: float = Field(3600.0, description="how long a turn may wait for its first worker, seconds", gt=0)
    reconcile_interval_s: float = Field(2.0, description="how often lost turns are looked for, seconds", gt=0)
    completion_keep_s: float = Field(
        604_800.0, description="how long the digest and usage of an erased completion are kept, seconds", gt=0
    )
    upstreams: Annotated[dict[str, Any], BeforeValidator(described_upstreams)] = Field(
        default_factory=dict,
        description="the upstreams that agents may name: JSON, or the path of a JSON or TOML file; history needs "
        "their names",
    )

    @property
    def upstream_names(self) -> frozenset[str]:
        """Empty: history was not told, so agents may name any."""
        return frozenset({"default", *self.upstreams}) if self.upstreams else frozenset()
