"""Many callers' runs of scripts on one connection: what comes while an answer is awaited is sent together, in order."""

import asyncio
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from redis.exceptions import NoScriptError, RedisError

from shared.broker.connections import PipelinedConnection
from shared.broker.redis_py import connection_pool
from shared.broker.script import Script
from shared.tasks import end_tasks

ANSWER_S: Final = 0.5
BATCH: Final = 200
# What nobody waits for is sent with the next call, at the latest after so long: alone, it would cost a round trip.
LAZY_S: Final = 0.05

Argument = str | bytes | int


class _Run(NamedTuple):
    script: Script
    keys: Sequence[str]
    arguments: tuple[Argument, ...]
    answer: "asyncio.Future[Any] | None"

    def finish(self, answer: Any) -> None:
        if self.answer is None or self.answer.done():
            return  # Nobody waits for it, or its caller has been cancelled.
        if isinstance(answer, Exception):
            self.answer.set_exception(answer)
        else:
            self.answer.set_result(answer)


class ScriptBatches:
    """A lone call is one round trip; a burst costs one write for each `BATCH` calls.

    It connects at the first call. Close it with `close`.
    """

    def __init__(self, url: str) -> None:
        self._connection = PipelinedConnection(connection_pool(url))
        self._waiting: list[_Run] = []
        self._sender: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None

    async def ask(self, script: Script, keys: Sequence[str], *arguments: Argument) -> Any:
        """The script's answer.

        Raises RedisError or OSError; TimeoutError, an OSError, if Redis does not answer a batch within `ANSWER_S`.
        """
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._waiting.append(_Run(script, keys, arguments, answer))
        self._start()
        return await answer

    def tell(self, script: Script, keys: Sequence[str], *arguments: Argument) -> None:
        """Runs the script within `LAZY_S`, and before whatever is asked later. Failures are ignored."""
        self._waiting.append(_Run(script, keys, arguments, None))
        if self._sender is None and self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(LAZY_S, self._start)

    async def flush(self) -> None:
        """Returns when all that waits has been sent and answered, or has failed."""
        if self._waiting:
            self._start()
        if self._sender is not None:
            await asyncio.wait([self._sender])

    def _start(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._sender is None:
            self._sender = asyncio.create_task(self._send())

    async def _send(self) -> None:
        batch: list[_Run] = []
        try:
            while self._waiting:
                batch, self._waiting = self._waiting[:BATCH], self._waiting[BATCH:]
                for run, answer in zip(batch, await self._answers(batch), strict=True):
                    run.finish(answer)
        finally:
            self._sender = None
            _cancel(batch)  # Without effect on those that have their answer.

    async def _answers(self, batch: list[_Run]) -> list[Any]:
        """One for each run: the script's answer, or the error."""
        commands = [run.script.command(run.keys, run.arguments) for run in batch]
        try:
            async with asyncio.timeout(ANSWER_S):
                answers = await self._connection.calls(*commands)
                # These have not run: Redis did not know their scripts.
                if missed := [n for n, answer in enumerate(answers) if isinstance(answer, NoScriptError)]:
                    for text in {batch[n].script.text for n in missed}:
                        await self._connection.call("SCRIPT", "LOAD", text)
                    again = await self._connection.calls(*(commands[n] for n in missed))
                    for n, answer in zip(missed, again, strict=True):
                        answers[n] = answer
        except (RedisError, OSError) as error:
            # Who waits behind this batch would only wait for the next failure.
            waiting, self._waiting = self._waiting, []
            for run in waiting:
                run.finish(error)
            return [error] * len(batch)
        return answers

    async def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if self._sender is not None:
            await end_tasks([self._sender])
        _cancel(self._waiting)
        await self._connection.close()


def _cancel(runs: Sequence[_Run]) -> None:
    for run in runs:
        if run.answer is not None:
            run.answer.cancel()
