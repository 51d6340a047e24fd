"""The scripts deal as the model in `tests/model/dealing.py` does, which is explored exhaustively there."""

import asyncio
from itertools import count

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from shared.contracts.jobs import RunTurn
from shared.turn_queue import scripts
from shared.turn_queue.queue import TurnQueue
from tests.model.dealing import Dealer, cancelled, dealt, enqueued, requeued
from tests.service.shared.turn_queue.rig import claimed

WEIGHTS = {"a": 1, "b": 2, "c": 3, "d": 1}
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("enqueue"), st.sampled_from(sorted(WEIGHTS))),
        st.tuples(st.just("deal"), st.just("")),
        st.tuples(st.just("requeue"), st.just("")),
        st.tuples(st.just("cancel"), st.sampled_from(sorted(WEIGHTS))),
    ),
    max_size=60,
)


class Both:
    """The model and the queue, taken through the same steps. A job's number is its age in both."""

    def __init__(self, queue: TurnQueue, run: int) -> None:
        self._queue = queue
        self._run = run
        self._numbers = count(1)
        self._dealer = Dealer()
        self._last: tuple[str, int] | None = None

    def _job(self, flow: str, number: int) -> RunTurn:
        return RunTurn("ws", f"trn_{self._run}_{number:04}", "agt", 1, flow, WEIGHTS[flow], number)

    async def enqueue(self, flow: str) -> None:
        number = next(self._numbers)
        self._dealer = enqueued(self._dealer, flow, number, WEIGHTS[flow])
        await self._queue.enqueue(self._job(flow, number))

    async def deal(self, _: str = "") -> None:
        told = await claimed(self._queue, 1)
        if not self._dealer.flows:
            assert told == []
            return
        flow, number, self._dealer = dealt(self._dealer, WEIGHTS)
        assert told == [self._job(flow, number)]
        self._last = (flow, number)

    async def requeue(self, _: str) -> None:
        if self._last is None:
            return
        (flow, number), self._last = self._last, None
        self._dealer = requeued(self._dealer, flow, number, WEIGHTS[flow])
        turn_id = self._job(flow, number).turn_id
        assert await self._queue.run_script(scripts.REQUEUE, turn_id, await self._queue.holder(turn_id) or "", 0) == 1

    async def cancel(self, flow: str) -> None:
        if jobs := self._dealer.jobs(flow):
            self._dealer = cancelled(self._dealer, flow, jobs[-1])
            await self._queue.forget(self._job(flow, jobs[-1]).turn_id)


def test_the_scripts_deal_as_the_model_does(redis_url: str) -> None:
    runs = count()

    @settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
    @given(steps=STEPS)
    def replay(steps: list[tuple[str, str]]) -> None:
        asyncio.run(_replay(redis_url, next(runs), steps))

    replay()


async def _replay(redis_url: str, run: int, steps: list[tuple[str, str]]) -> None:
    queue = TurnQueue.connect(redis_url)
    try:
        await queue.flushall()
        both = Both(queue, run)
        for name, flow in steps:
            await getattr(both, name)(flow)
        while (await queue.backlog())[0]:
            await both.deal()
        await both.deal()
    finally:
        await queue.aclose()
