"""Many callers' runs of one script on one connection: what comes while an answer is awaited is sent together."""

import asyncio
from typing import Any, Final

from redis.exceptions import NoScriptError, RedisError

from shared.broker.connections import PipelinedConnection
from shared.broker.redis_py import connection_pool
from shared.broker.script import Script
from shared.tasks import end_tasks

ANSWER_S: Final = 0.5
BATCH: Final = 200

Argument = str | bytes | int


class ScriptBatches:
    """A script with one key. A lone call is one round trip; a burst costs one write for each `BATCH` calls.

    It connects at the first call. Close it with `close`.
    """

    def __init__(self, url: str, script: Script) -> None:
        self._connection = PipelinedConnection(connection_pool(url))
        self._script = script
        self._waiting: list[tuple[str, tuple[Argument, ...], asyncio.Future[Any]]] = []
        self._sender: asyncio.Task[None] | None = None

    async def ask(self, key: str, *arguments: Argument) -> Any:
        """The script's answer.

        Raises RedisError or OSError; TimeoutError, an OSError, if Redis does not answer a batch within `ANSWER_S`.
        """
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._waiting.append((key, arguments, answer))
        if self._sender is None:
            self._sender = asyncio.create_task(self._send())
        return await answer

    async def _send(self) -> None:
        batch: list[tuple[str, tuple[Argument, ...], asyncio.Future[Any]]] = []
        try:
            while self._waiting:
                batch, self._waiting = self._waiting[:BATCH], self._waiting[BATCH:]
                answers = await self._answers([(key, arguments) for key, arguments, _ in batch])
                for (_, _, future), answer in zip(batch, answers, strict=True):
                    if future.done():
                        continue  # Its caller has been cancelled.
                    if isinstance(answer, Exception):
                        future.set_exception(answer)
                    else:
                        future.set_result(answer)
        finally:
            self._sender = None
            for _, _, future in batch:
                future.cancel()  # Without effect on those that have their answer.

    async def _answers(self, calls: list[tuple[str, tuple[Argument, ...]]]) -> list[Any]:
        """One for each call: the script's answer, or the error."""
        commands = [self._script.command([key], arguments) for key, arguments in calls]
        try:
            async with asyncio.timeout(ANSWER_S):
                answers = await self._connection.calls(*commands)
                if any(isinstance(answer, NoScriptError) for answer in answers):
                    # No call of the batch has run: Redis did not know the script.
                    await self._connection.call("SCRIPT", "LOAD", self._script.text)
                    answers = await self._connection.calls(*commands)
        except (RedisError, OSError) as error:
            # Who waits behind this batch would only wait for the next failure.
            waiting, self._waiting = self._waiting, []
            for _, _, future in waiting:
                if not future.done():
                    future.set_exception(error)
            return [error] * len(calls)
        return answers

    async def close(self) -> None:
        if self._sender is not None:
            await end_tasks([self._sender])
        for _, _, answer in self._waiting:
            answer.cancel()
        await self._connection.close()
