"""The status of silent turns and sessions: one call of history for all streams that ask at about the same time."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, Generic, TypeVar

from shared.contracts.sessions import SessionState
from shared.contracts.turns import Turn
from shared.history_client import HistoryClient

GATHER_S: Final = 0.02
BATCH: Final = 500

# A workspace, and the id of a turn or a session in it.
Key = tuple[str, str]
T = TypeVar("T")


class StatusBatcher(Generic[T]):
    """Readers of one turn share one query. An answer is never older than its query."""

    def __init__(self, query: Callable[[Sequence[Key]], Awaitable[list[T | None]]]) -> None:
        self._ask = query
        self._pending: dict[Key, asyncio.Future[T | None]] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def state(self, workspace: str, some_id: str) -> T | None:
        """The status; None where it does not exist, or was deleted. Raises ApiError when history does not answer."""
        key = (workspace, some_id)
        answer = self._pending.get(key)
        if answer is None:
            answer = self._pending[key] = asyncio.get_running_loop().create_future()
            if len(self._pending) == 1:
                task = asyncio.create_task(self._query())
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)
        return await asyncio.shield(answer)

    async def _query(self) -> None:
        await asyncio.sleep(GATHER_S)
        pending, self._pending = self._pending, {}
        keys = list(pending)
        for start in range(0, len(keys), BATCH):
            part = keys[start : start + BATCH]
            try:
                found = await self._ask(part)
            except Exception as error:
                for key in part:
                    pending[key].set_exception(error)
                    pending[key].exception()  # Retrieved: perhaps nobody waits for it any more.
            else:
                for key, status in zip(part, found, strict=True):
                    pending[key].set_result(status)


class TurnStatusBatcher(StatusBatcher[Turn]):
    def __init__(self, history: HistoryClient) -> None:
        super().__init__(history.turn_states)


class SessionStatusBatcher(StatusBatcher[SessionState]):
    def __init__(self, history: HistoryClient) -> None:
        super().__init__(history.session_states)
