"""The status of silent turns: one call of history for all streams that ask at about the same time."""

import asyncio
from typing import Final

from shared.contracts.turns import Turn
from shared.history_client import HistoryClient

GATHER_S: Final = 0.02
BATCH: Final = 500

TurnKey = tuple[str, str]


class TurnStatusBatcher:
    """Readers of one turn share one query. An answer is never older than its query."""

    def __init__(self, history: HistoryClient) -> None:
        self._history = history
        self._pending: dict[TurnKey, asyncio.Future[Turn | None]] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def state(self, workspace: str, turn_id: str) -> Turn | None:
        """The turn; None when it does not exist, or was deleted. Raises ApiError when history does not answer."""
        key = (workspace, turn_id)
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
                turns = await self._history.turn_states(part)
            except Exception as error:
                for key in part:
                    pending[key].set_exception(error)
                    pending[key].exception()  # Retrieved: perhaps nobody waits for it any more.
            else:
                for key, turn in zip(part, turns, strict=True):
                    pending[key].set_result(turn)
