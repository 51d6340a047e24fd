"""Every variable that history reads."""

from pydantic import Field

from shared.settings import Settings


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
