"""Notices that keys were revoked, rotated or changed: history publishes them, and gateways look these keys up again.

A notice that is lost costs little: a gateway trusts a key's record for less than a second anyway.
"""

from types import TracebackType
from typing import Final, Self

from redis.exceptions import RedisError

from shared.broker.client import connect
from shared.log import get_logger

log = get_logger()

CHANNEL: Final = "parley:keys"


class KeyNotices:
    """`url` is the first stream Redis, to which every gateway is subscribed."""

    def __init__(self, url: str) -> None:
        self._redis = connect(url)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._redis.aclose()

    async def publish(self, workspace: str, key_id: str = "") -> None:
        """Without a key: all keys of the workspace. It never fails its caller: the change itself is stored."""
        try:
            await self._redis.publish(CHANNEL, f"{workspace}:{key_id}")
        except (RedisError, OSError) as error:
            log.warning("key_notice_lost", key_id=key_id, error=type(error).__name__)


def parse(notice: bytes) -> tuple[str, str]:
    """The workspace and the key's id; an empty id stands for all keys of the workspace."""
    workspace, _, key_id = notice.decode("utf-8", "replace").partition(":")
    return workspace, key_id
