"""Settings come from the environment, `PARLEY_<NAME>` for the field `name`, and are read once per process."""

import os
from collections.abc import Mapping
from typing import Self

from pydantic import BaseModel, ConfigDict, Field, SecretStr


class Settings(BaseModel):
    """What every process reads. A service adds its own fields; a name that no class has is nobody's."""

    model_config = ConfigDict(frozen=True)

    log_level: str = Field("INFO", description="debug, info, warning or error")
    host: str = Field("127.0.0.1", description="address to listen on")
    port: int = Field(0, description="port to listen on")
    internal_token: SecretStr = Field(min_length=16, description="shared secret between gateway, workers and history")
    queue_redis_url: str = Field("redis://127.0.0.1:6379/0", description="queue and outbox: a plain or Sentinel Redis")
    stream_redis_urls: str = Field(
        "", description="run logs and channels: Redis URLs, comma separated; empty: the queue's"
    )
    history_url: str = Field(
        "http://127.0.0.1:8082", description="base URLs of history, comma separated; the next is tried when one fails"
    )
    log_keep_s: float = Field(900.0, description="how long a run log is kept after the turn's end, seconds", gt=0)
    turn_timeout_s: float = Field(300.0, description="a turn's deadline, seconds from its first claim", gt=0)
    lease_s: float = Field(4.0, description="a worker that is silent for so long loses its turns", gt=0)
    drain_s: float = Field(
        30.0, description="how long a worker that is told to stop may finish its turns, seconds", ge=0
    )
    uvloop: bool = Field(True, description="run on uvloop")

    @classmethod
    def load(cls, environment: Mapping[str, str] | None = None) -> Self:
        """Raises pydantic's ValidationError, which names the variable at fault."""
        source = os.environ if environment is None else environment
        given = {
            name: source[variable] for name in cls.model_fields if (variable := f"PARLEY_{name.upper()}") in source
        }
        return cls.model_validate(given)

    @property
    def stream_urls(self) -> tuple[str, ...]:
        return split_list(self.stream_redis_urls) or (self.queue_redis_url,)

    @property
    def history_urls(self) -> tuple[str, ...]:
        return split_list(self.history_url)


def split_list(text: str) -> tuple[str, ...]:
    """`a, b` → `("a", "b")`."""
    return tuple(part.strip() for part in text.split(",") if part.strip())
