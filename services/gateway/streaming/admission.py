"""How a turn is accepted, for every protocol: subscribe first, admit, and only then enqueue."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Final, NamedTuple

from redis.exceptions import RedisError

from services.gateway.dependencies import Dependencies
from services.gateway.edge.limits import GatewayLimits
from services.gateway.streaming.listener import Listener
from shared.contracts.errors import ApiError, Code
from shared.contracts.jobs import RunTurn, flow_of
from shared.contracts.keys import Principal
from shared.contracts.turns import ENDED, AdmittedTurn, AdmitTurn, Turn
from shared.log import get_logger
from shared.tracing.spans import traceparent
from shared.web.origin import request_id

log = get_logger()

QUEUE_TIMEOUT_S: Final = 0.9
POSITION_TIMEOUT_S: Final = 0.9


class Admission(NamedTuple):
    """An accepted turn. `enqueued` becomes the number of jobs before it, or None; it may not be done yet."""

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
async def admission(dependencies: Dependencies, principal: Principal, order: AdmitTurn) -> AsyncIterator[Admission]:
    """Accepts the turn for its caller and listens to it while the block runs.

    The caller's key, weight and limits are added to the order here, so that no protocol can leave them out.

    Raises `dependency_unavailable` within a second while a Redis is away, `overloaded` while turns wait for too
    long, and whatever history's `admit` raises. What can be known to fail is asked before `admit`, so that a 503
    leaves nothing behind. If a Redis falls silent at that very moment, the turn is accepted, and the reconciler
    enqueues it. A repeated idempotency key listens to the turn that its first request made.
    """
    dependencies.queue_age.refuse()
    workspace, order = principal.workspace, _asked_by(principal, order, dependencies.limits)
    async with AsyncExitStack() as stack:
        await _queue_answers(dependencies)
        listener, confirmed = await stack.enter_async_context(dependencies.hub.expect(workspace, order.turn_id))
        answer = await dependencies.history.admit(workspace, order)
        await confirmed()
        if answer.turn.id != order.turn_id:
            listener = await stack.enter_async_context(dependencies.hub.listen(workspace, answer.turn.id))
        enqueued = asyncio.create_task(_enqueue(dependencies, workspace, order, answer))
        rung = asyncio.create_task(_signal_session(dependencies, workspace, answer))
        try:
            yield Admission(answer, listener, enqueued)
        finally:
            await asyncio.gather(enqueued, rung)


def _asked_by(principal: Principal, order: AdmitTurn, limits: GatewayLimits) -> AdmitTurn:
    origin = {"request_id": request_id(), "traceparent": traceparent() or None}
    caller = {"key_id": principal.key_id, "weight": principal.weight, "limits": limits.turns(principal)}
    return order.model_copy(update=caller | origin)


async def _queue_answers(dependencies: Dependencies) -> None:
    settings = dependencies.settings
    if dependencies.limits.redis_answers or set(settings.stream_urls) == {settings.queue_redis_url}:
        return  # The check of the request's rate has just asked this Redis, or the hub will.
    try:
        async with asyncio.timeout(QUEUE_TIMEOUT_S):
            await dependencies.queue.ping()
    except (RedisError, OSError, TimeoutError):
        raise ApiError(Code.DEPENDENCY_UNAVAILABLE, "The queue does not answer.") from None


def _job(workspace: str, order: AdmitTurn, turn: Turn) -> RunTurn:
    """It waits since now by Redis' clock: by a clock that is behind, each new turn would look old."""
    return RunTurn(
        workspace,
        turn.id,
        turn.agent_id,
        turn.agent_version,
        flow=flow_of(workspace, order.key_id),
        weight=order.weight,
        request_id=order.request_id or "",
        traceparent=order.traceparent or "",
    )


async def _enqueue(dependencies: Dependencies, workspace: str, order: AdmitTurn, answer: AdmittedTurn) -> int | None:
    """The turn is accepted whatever happens here: history's reconciler enqueues turns that have no job."""
    turn = answer.turn
    if not answer.created:
        return None
    try:
        async with asyncio.timeout(QUEUE_TIMEOUT_S):
            return await dependencies.queue.enqueue(_job(workspace, order, turn), answer.snapshot)
    except (RedisError, OSError, TimeoutError) as error:
        log.warning("enqueue_left_to_reconciler", turn_id=turn.id, error=type(error).__name__)
        return None


async def _signal_session(dependencies: Dependencies, workspace: str, answer: AdmittedTurn) -> None:
    """Tells the readers of the session that a turn has started. If this is lost, they find it at a heartbeat."""
    turn = answer.turn
    if not answer.created or turn.session_id is None:
        return
    try:
        async with asyncio.timeout(QUEUE_TIMEOUT_S):
            await dependencies.logs.signal_session(workspace, turn.session_id, turn.id)
    except (RedisError, OSError, TimeoutError) as error:
        log.warning("session_not_rung", turn_id=turn.id, error=type(error).__name__)


async def queue_position(dependencies: Dependencies, turn_id: str) -> int:
    """How many jobs are before the turn's. 0 when it is no longer queued, or when the queue does not answer."""
    try:
        async with asyncio.timeout(POSITION_TIMEOUT_S):
            return await dependencies.queue.position(turn_id) or 0
    except (RedisError, OSError):
        return 0
