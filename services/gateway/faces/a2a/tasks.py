"""Tasks and contexts of one agent: found, listed and cancelled."""

import asyncio
import re
from collections.abc import AsyncIterator
from datetime import datetime
from typing import Any, Final, NamedTuple

from services.gateway.call import Call
from services.gateway.faces.a2a.contexts import context_of, label_of, named_session
from services.gateway.faces.a2a.errors import PARAMS, TASK_NOT_CANCELABLE, A2aError
from services.gateway.faces.a2a.requests import GetTask, ListTasks
from services.gateway.faces.a2a.shapes import STATES, stored_task
from services.gateway.streaming.follow import outcome
from shared.contracts.errors import ApiError, Code
from shared.contracts.sessions import Session
from shared.contracts.turns import ENDED, StoredTurn
from shared.ids import is_id

CANCEL_S: Final = 5.0
# Sessions that one page looks into.
MAX_SESSIONS: Final = 50
_TOKEN: Final = re.compile(r"(ses_[0-9a-z]{26})\.([0-9]{1,9})")


async def find(call: Call, agent_id: str, task_id: str, *, text: bool = True) -> StoredTurn:
    """Raises `turn_not_found` also for another agent's turn, and for a completion."""
    if not is_id("trn", task_id):
        raise ApiError(Code.TURN_NOT_FOUND)
    stored = await call.dependencies.history.turn(call.workspace, task_id, text=text)
    if stored.turn.agent_id != agent_id or stored.turn.session_id is None:
        raise ApiError(Code.TURN_NOT_FOUND)
    return stored


async def get_task(call: Call, agent_id: str, asked: GetTask) -> dict[str, Any]:
    stored = await find(call, agent_id, asked.id)
    return stored_task(stored, await context_of(call, stored), asked.history_length)


async def cancel_task(call: Call, agent_id: str, asked: GetTask) -> dict[str, Any]:
    """Waits some seconds for the end of the task. Where no worker answers, the task is still told as it stands."""
    stored = await find(call, agent_id, asked.id, text=False)
    _refuse_ended(stored)
    turn_id = stored.turn.id
    async with call.dependencies.hub.listen(call.workspace, turn_id) as listener:
        await call.dependencies.history.cancel(call.workspace, turn_id)
        try:
            async with asyncio.timeout(CANCEL_S):
                await outcome(call.dependencies, call.workspace, turn_id, listener)
        except TimeoutError:
            pass
    stored = await find(call, agent_id, turn_id)
    if stored.turn.status != "cancelled":
        _refuse_ended(stored)
    return stored_task(stored, await context_of(call, stored))


def _refuse_ended(stored: StoredTurn) -> None:
    if stored.turn.status in ENDED:
        raise A2aError(
            TASK_NOT_CANCELABLE, "The task has ended.", {"taskId": stored.turn.id, "state": STATES[stored.turn.status]}
        )


class _Place(NamedTuple):
    """Where a page begins: below a number in a session, and then in the sessions behind it."""

    session_id: str
    below: int

    @classmethod
    def parse(cls, token: str) -> "_Place | None":
        """Raises A2aError. None: at the beginning."""
        if not token:
            return None
        found = _TOKEN.fullmatch(token)
        if found is None or not is_id("ses", found[1]):
            raise A2aError(PARAMS, "pageToken must be the nextPageToken of the page before.")
        return cls(found[1], int(found[2]))


async def list_tasks(call: Call, agent_id: str, asked: ListTasks) -> dict[str, Any]:
    """Contexts newest first, and in each the newest task first."""
    place, since = _Place.parse(asked.page_token), _time(asked.status_timestamp_after)
    await call.dependencies.history.published_agent(call.workspace, agent_id)
    context = await named_session(call, agent_id, asked.context_id) if asked.context_id else None
    tasks: list[dict[str, Any]] = []
    following = ""
    async for session, stored in _turns(call, agent_id, context, place):
        if len(tasks) == asked.page_size:
            break
        following = f"{session.id}.{stored.number}"
        if _is_wanted(asked, stored, since):
            tasks.append(
                stored_task(stored, label_of(session), asked.history_length, artifacts=asked.include_artifacts)
            )
    else:
        following = ""
    total = context.turn_count if context is not None else len(tasks) + bool(following)
    return {"tasks": tasks, "nextPageToken": following, "pageSize": asked.page_size, "totalSize": total}


def _time(text: str) -> datetime | None:
    try:
        moment = datetime.fromisoformat(text) if text else None
    except ValueError:
        moment = None
    if text and (moment is None or moment.tzinfo is None):
        raise A2aError(PARAMS, "statusTimestampAfter must be a time such as 2026-01-31T09:00:00Z.")
    return moment


def _is_wanted(asked: ListTasks, stored: StoredTurn, since: datetime | None) -> bool:
    turn = stored.turn
    is_of_state = asked.status in ("TASK_STATE_UNSPECIFIED", STATES[turn.status])
    return is_of_state and (since is None or (turn.ended_at or turn.created_at) > since)


async def _turns(
    call: Call, agent_id: str, context: Session | None, place: _Place | None
) -> AsyncIterator[tuple[Session, StoredTurn]]:
    if context is not None:
        async for stored in _below(call, context, place.below if place is not None else None):
            yield context, stored
        return
    history = call.dependencies.history
    after = None
    if place is not None:
        session = await named_session(call, agent_id, place.session_id)
        async for stored in _below(call, session, place.below):
            yield session, stored
        after = session.id
    query = [("agentId", agent_id), ("limit", str(MAX_SESSIONS)), *([("after", after)] if after else [])]
    for item in (await history.sessions(call.workspace, query))["items"]:
        session = Session.model_validate(item)
        async for stored in _below(call, session, None):
            yield session, stored


async def _below(call: Call, session: Session, below: int | None) -> AsyncIterator[StoredTurn]:
    """The session's turns with a lower number, the highest first."""
    width = 20
    end = session.turn_count if below is None else min(below - 1, session.turn_count)
    while end > 0:
        start = max(1, end - width + 1)
        page = await call.dependencies.history.session_turns(call.workspace, session.id, start, end - start + 1)
        for stored in reversed(page.turns):
            yield stored
        end = start - 1
