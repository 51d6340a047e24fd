"""Pure: how long clients waited for another worker after a kill -9."""

from collections.abc import Iterator, Sequence

from tests.system.chaos.events import Frame, History, Injected, Opened

# A frame may reach its client a little after the kill of the worker that wrote it.
_SLACK_S = 0.5
# What does not touch the workers or their queue. A stream of a gateway that was killed is another one afterwards, and
# not counted.
_BESIDE = ("cut pubsub", "kill gateway", "term gateway")


def take_overs(history: History) -> list[float]:
    """Seconds from a worker's kill to the `restarted` frame, on streams that were open all the time; sorted.

    Only where nothing but kills of workers was done to workers, stores or links around that time, so that the figure
    is that of the take-over alone.
    """
    faults = [event for event in history.events if isinstance(event, Injected)]
    kills = sorted(fault.until for fault in faults if fault.kind == "kill worker")
    others = [fault for fault in faults if fault.kind != "kill worker" and fault.kind not in _BESIDE]
    found = []
    for last, restarted in _restarts(history):
        kill = next((at for at in kills if last - _SLACK_S <= at <= restarted), None)
        if kill is not None and not _disturbed(others, kill - 3.0, restarted):
            found.append(restarted - kill)
    return sorted(found)


def _restarts(history: History) -> Iterator[tuple[float, float]]:
    """(when the attempt before told its last, when the next began to tell), as one open stream saw it."""
    last: dict[int, float] = {}
    for event in history.events:
        if isinstance(event, Opened):
            last.pop(event.view, None)
        elif isinstance(event, Frame) and event.id is not None:
            if event.event == "restarted" and event.view in last:
                yield last[event.view], event.at
            last[event.view] = event.at


def _disturbed(faults: Sequence[Injected], since: float, until: float) -> bool:
    return any(fault.at <= until and fault.until >= since for fault in faults)
