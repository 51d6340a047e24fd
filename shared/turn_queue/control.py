"""The control channel: tells a worker to cancel a turn that it runs.

A signal may be lost, for instance while the connection is down: history's reconciler repeats it.
"""

from collections.abc import Callable
from typing import Final

from shared.broker.pubsub import PubSub
from shared.turn_queue.keys import CONTROL
from shared.turn_queue.runs import Runs

_NAME: Final = CONTROL.encode()


class ControlChannel:
    """A subscriber for as long as `run` runs. `on_alive` is called about every second while Redis answers."""

    def __init__(self, url: str, runs: Runs, *, on_alive: Callable[[], None]) -> None:
        self._runs = runs
        self._pubsub = PubSub(url, on_alive=on_alive)
        self._pubsub.keep(_NAME, self)

    async def run(self) -> None:
        await self._pubsub.run()

    def deliver(self, message: bytes) -> None:
        job = self._runs.jobs.get(message.decode(errors="replace"))
        if job is not None:
            job.cancelled.set()

    def lose(self) -> None:
        pass
