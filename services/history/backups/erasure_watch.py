"""Erasures of end users that run while a backup is made: they begin again after a restore.

The document of an erasure forgets whom it erased when it is completed, which takes it ten seconds at least. It is
therefore looked at every few seconds for as long as turns may be copied that it erases afterwards.
"""

import asyncio
from contextlib import suppress
from types import TracebackType
from typing import Final, Self

from services.history.mongo.collection import Collection
from services.history.mongo.filters import Document
from shared.contracts.errors import ApiError
from shared.tasks import end_tasks

EVERY_S: Final = 3.0
MOST: Final = 10_000


class ErasureWatch:
    def __init__(self, erasures: Collection) -> None:
        self._erasures = erasures
        self._seen: dict[tuple[str, str], Document] = {}
        self._decided: set[tuple[str, str]] = set()
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Self:
        await self._look()
        self._tasks = [asyncio.create_task(self._watch())]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await end_tasks(self._tasks)

    def as_copied(self, erasure: Document) -> Document:
        """As it was while it ran, if it has been completed since.

        Of several erasures of one end user, the newest: only one at a time may run.
        """
        for running in self._seen.values():
            if running["_id"] == erasure["_id"] and not erasure.get("running"):
                return {name: value for name, value in running.items() if name != "emptyAt"}
        return erasure

    def is_new(self, erasure: Document) -> bool:
        """Whether it began after another one of the same end user, which begins again after a restore."""
        if not erasure.get("running"):
            return False
        end_user = erasure["workspace"], erasure["endUserId"]
        if self._seen.get(end_user, erasure)["_id"] == erasure["_id"]:
            return False
        self._decided.add(end_user)
        return True

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(EVERY_S)
            await self._look()

    async def _look(self) -> None:
        with suppress(ApiError):  # MongoDB is away, for the erasures too.
            for row in await self._erasures.many({"running": True}, limit=MOST):
                if (row["workspace"], row["endUserId"]) not in self._decided:
                    self._seen[row["workspace"], row["endUserId"]] = row
