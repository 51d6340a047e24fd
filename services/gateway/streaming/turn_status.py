"""The states of silent turns, asked of history in one batched call for all streams that wonder at the same time."""

import asyncio
from typing import Final

from shared.contracts.turns import Turn
from shared.history_client import HistoryClient

GATHER_S: Final = 0.02
BATCH: Final = 500

TurnKey = tuple[str, str]


class TurnStatusBatcher:
    """Readers of one turn share one question. An answer is never older than its question."""

    def __init__(self, history: HistoryClient) -> None:
        self._history = history
        self._asked: dict[TurnKey, asyncio.Future[Turn | None]] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def state(self, workspace: str, turn_id: str) -> Turn | None:
        """The turn, or None when there is none (any more). Raises ApiError when history does not answer."""
        key = (workspace, turn_id)
        answer = self._asked.get(key)
        if answer is None:
            answer = self._asked[key] = asyncio.get_running_loop().create_future()
            if len(self._asked) == 1:
                task = asyncio.create_task(self._ask())
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)
        return await asyncio.shield(answer)

    async def _ask(self) -> None:
        await asyncio.sleep(GATHER_S)
        asked, self._asked = self._asked, {}
        keys = list(asked)
        for start in range(0, len(keys), BATCH):
            part = keys[start : start + BATCH]
            try:
                turns = await self._history.turn_states(part)
            except Exception as error:
                for key in part:
                    asked[key].set_exception(error)
                    asked[key].exception()  # Nobody may be waiting any more, and that is no fault.
            else:
                for key, turn in zip(part, turns, strict=True):
                    asked[key].set_result(turn)
