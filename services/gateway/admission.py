"""How a turn is accepted: listen first, admit, and only then enqueue. Shared by the session routes and completions."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Final, NamedTuple

from redis.exceptions import RedisError

from services.gateway.hub import Listener
from services.gateway.parts import Parts
from services.gateway.stream import ENDED
from shared.contracts.errors import ApiError, Code
from shared.contracts.jobs import RunTurn
from shared.contracts.turns import AdmittedTurn, AdmitTurn, Turn
from shared.log import get_logger

log = get_logger()

QUEUE_TIMEOUT_S: Final = 0.9


class Admission(NamedTuple):
    """An accepted turn. `enqueued` becomes the number of jobs before it, or None; it may still be under way."""

    answer: AdmittedTurn
    listener: Listener
    enqueued: "asyncio.Task[int | None]"

    @property
    def turn(self) -> Turn:
        return self.answer.turn

    @property
    def ended(self) -> bool:
        return self.answer.turn.status in ENDED


@asynccontextmanager
async def admission(parts: Parts, workspace: str, order: AdmitTurn) -> AsyncIterator[Admission]:
    """Accepts the turn and listens to it while the block runs.

    Everything that can be known to fail is asked before `admit`, so that a 503 leaves nothing behind: raises
    `dependency_unavailable` within a second while a Redis is away, and whatever history's `admit` raises.
    A Redis that has fallen silent only just now is not known to be away: then the turn is accepted, and the sweep enqueues it.
    A repeated idempotency key listens to the turn that it named first.
    """
    async with AsyncExitStack() as stack:
        await _queue_answers(parts)
        listener, stands = await stack.enter_async_context(parts.hub.expect(workspace, order.turn_id))
        answer = await parts.history.admit(workspace, order)
        await stands()
        if answer.turn.id != order.turn_id:
            listener = await stack.enter_async_context(parts.hub.listen(workspace, answer.turn.id))
        enqueued = asyncio.create_task(_enqueue(parts, workspace, answer))
        try:
            yield Admission(answer, listener, enqueued)
        finally:
            await enqueued


async def _queue_answers(parts: Parts) -> None:
    settings = parts.settings
    if set(settings.stream_urls) == {settings.queue_redis_url}:
        return  # The hub knows.
    try:
        async with asyncio.timeout(QUEUE_TIMEOUT_S):
            await parts.queue.ping()
    except (RedisError, OSError, TimeoutError):
        raise ApiError(Code.DEPENDENCY_UNAVAILABLE, "The queue does not answer.") from None


async def _enqueue(parts: Parts, workspace: str, answer: AdmittedTurn) -> int | None:
    """The turn is accepted whatever happens here: history's sweep enqueues what has no job."""
    turn = answer.turn
    if not answer.created:
        return None
    try:
        async with asyncio.timeout(QUEUE_TIMEOUT_S):
            return await parts.queue.enqueue(RunTurn(workspace, turn.id, turn.agent_id, turn.agent_version), answer.brief)
    except (RedisError, OSError, TimeoutError) as error:
        log.warning("enqueue_left_to_sweep", turn_id=turn.id, error=type(error).__name__)
        return None
