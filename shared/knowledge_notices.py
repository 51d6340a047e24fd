"""Notices between history and the workers: an agent's knowledge has changed, and an ingest worker is there.

Both are hints. A worker that misses a notice finds the change at its next look at history. Without the sign of an
ingest worker a version is published at once, and its index is built on first use.
"""

from types import TracebackType
from typing import Final, Self

from redis.exceptions import RedisError

from shared.broker.client import connect
from shared.log import get_logger

log = get_logger()

CHANNEL: Final = "parley:knowledge"
BUILDER: Final = "parley:knowledge:builder"
# An idle ingest worker asks for work every half second.
BUILDER_TTL_MS: Final = 5_000


class KnowledgeNotices:
    """`url` is the first stream Redis, to which every worker is subscribed."""

    def __init__(self, url: str) -> None:
        self._redis = connect(url)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._redis.aclose()

    async def publish(self, workspace: str, agent_id: str) -> None:
        """It never fails its caller: the change itself is stored."""
        try:
            await self._redis.publish(CHANNEL, f"{workspace}:{agent_id}")
        except (RedisError, OSError) as error:
            log.warning("knowledge_notice_lost", agent_id=agent_id, error=type(error).__name__)

    async def builder_seen(self) -> None:
        """An ingest worker has asked for indexes to build."""
        try:
            await self._redis.set(BUILDER, b"1", px=BUILDER_TTL_MS)
        except (RedisError, OSError) as error:
            log.debug("builder_sign_lost", error=type(error).__name__)

    async def has_builder(self) -> bool:
        """Whether an ingest worker has asked lately. False while Redis is away."""
        try:
            return bool(await self._redis.exists(BUILDER))
        except (RedisError, OSError):
            return False


def parse(notice: bytes) -> tuple[str, str]:
    """The workspace and the agent's id."""
    workspace, _, agent_id = notice.decode("utf-8", "replace").partition(":")
    return workspace, agent_id
