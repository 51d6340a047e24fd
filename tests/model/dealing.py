"""How waiting jobs are dealt to their flows: what `shared/turn_queue/lua` does, without Redis."""

from collections.abc import Iterator, Mapping
from math import ceil
from typing import Final, NamedTuple

Job = int
# Weights up to 16 divide it, so tags do not drift and the runs below have an end.
SHARE: Final = 720_720


class Rules(NamedTuple):
    """What makes dealing fair. The model is run with all of it, and once without each: then it must fail."""

    turns: bool = True  # The flow with the lowest tag is next. Without: the flow with the oldest job.
    arrivals_pay: bool = True  # A flow that was empty gets its tag a share after the clock, not at it.
    shares_paid: bool = True  # A flow's next job comes one share after the one that was dealt.


ALL_RULES: Final = Rules()


class Flow(NamedTuple):
    """Its waiting jobs, oldest first, and its tag."""

    jobs: tuple[Job, ...]
    tag: int


class Dealer(NamedTuple):
    """`flows` by name, without the empty ones. A job's number is its age: the lower, the older."""

    flows: tuple[tuple[str, Flow], ...] = ()
    clock: int = 0

    def jobs(self, name: str) -> tuple[Job, ...]:
        flow = dict(self.flows).get(name)
        return flow.jobs if flow is not None else ()


def enqueued(dealer: Dealer, name: str, job: Job, weight: int, rules: Rules = ALL_RULES) -> Dealer:
    flows = dict(dealer.flows)
    arrival = dealer.clock + (SHARE // weight if rules.arrivals_pay else 0)
    flow = flows.get(name, Flow((), arrival))
    return _with(dealer, flows | {name: flow._replace(jobs=tuple(sorted((*flow.jobs, job))))})


def dealt(dealer: Dealer, weights: Mapping[str, int], rules: Rules = ALL_RULES) -> tuple[str, Job, Dealer]:
    """The flow and the job that are next, and what is left."""
    flows = dict(dealer.flows)
    if rules.turns:
        name = min(flows, key=lambda each: (flows[each].tag, each))
    else:
        name = min(flows, key=lambda each: flows[each].jobs)
    job, *left = flows[name].jobs
    tag = flows[name].tag
    after = tag + (SHARE // weights[name] if rules.shares_paid else 0)
    return name, job, _with(dealer._replace(clock=tag), flows | {name: Flow(tuple(left), after)})


def cancelled(dealer: Dealer, name: str, job: Job) -> Dealer:
    flows = dict(dealer.flows)
    left = tuple(each for each in flows[name].jobs if each != job)
    return _with(dealer, flows | {name: flows[name]._replace(jobs=left)})


def requeued(dealer: Dealer, name: str, job: Job, weight: int) -> Dealer:
    """The job is the next one, and costs its flow nothing."""
    back = enqueued(dealer, name, job, weight)
    flows = dict(back.flows)
    return _with(back, flows | {name: flows[name]._replace(tag=min(flows[name].tag, dealer.clock))})


def _with(dealer: Dealer, flows: Mapping[str, Flow]) -> Dealer:
    kept = tuple(sorted((name, flow) for name, flow in flows.items() if flow.jobs))
    return Dealer(kept, dealer.clock if kept else 0)


# --- every run

MOST_WAITING: Final = 2
MOST_REQUEUES: Final = 1


class World(NamedTuple):
    """`overtaken`: how many jobs each other flow was dealt since a flow's next job became the next one."""

    dealer: Dealer
    overtaken: tuple[tuple[str, str, int], ...] = ()
    requeues: int = 0
    running: tuple[str, ...] = ()


class Explored(NamedTuple):
    """`unfair`: a flow that was overtaken by another, how often, and the steps that lead there."""

    worlds: int
    unfair: tuple[str, str, int] | None = None
    story: tuple[str, ...] = ()


def explore(weights: Mapping[str, int], rules: Rules = ALL_RULES) -> Explored:
    """All runs in which flows come and go, jobs are dealt, cancelled and, so many times, requeued."""
    first = World(Dealer())
    came: dict[World, tuple[World, str]] = {first: (first, "")}
    frontier = [first]
    for world in frontier:  # It grows while it is walked.
        for name, after in _steps(world, weights, rules):
            if after in came:
                continue
            came[after] = (world, name)
            for flow, other, times in after.overtaken:
                # A third flow can be the reason for one more: what was next before the flow came is dealt first.
                third = len(weights) > 2
                if times > ceil(weights[other] / weights[flow]) + third + after.requeues:
                    return Explored(len(came), (flow, other, times), _story(came, after))
            frontier.append(after)
    return Explored(len(came))


def _steps(world: World, weights: Mapping[str, int], rules: Rules) -> Iterator[tuple[str, World]]:
    dealer = world.dealer
    for name, weight in weights.items():
        jobs = dealer.jobs(name)
        if len(jobs) < MOST_WAITING:
            after = enqueued(dealer, name, _youngest(dealer) + 1, weight, rules)
            yield f"enqueue {name}", _normal(world._replace(dealer=after))
        for job in jobs:
            yield f"cancel {name}", _normal(world._replace(dealer=cancelled(dealer, name, job)))
        if name in world.running and world.requeues < MOST_REQUEUES and len(jobs) < MOST_WAITING:
            after = requeued(dealer, name, -1, weight)
            yield f"requeue {name}", _normal(world._replace(dealer=after, requeues=world.requeues + 1))
    if dealer.flows:
        name, _, left = dealt(dealer, weights, rules)
        running = tuple(sorted({*world.running, name}))
        overtaken = _overtaken(world, name)
        yield f"deal {name}", _normal(world._replace(dealer=left, overtaken=overtaken, running=running))


def _overtaken(world: World, name: str) -> tuple[tuple[str, str, int], ...]:
    counts = {(flow, other): times for flow, other, times in world.overtaken if flow != name}
    for flow, _ in world.dealer.flows:
        if flow != name:
            counts[flow, name] = counts.get((flow, name), 0) + 1
    return tuple((flow, other, times) for (flow, other), times in counts.items())


def _youngest(dealer: Dealer) -> Job:
    return max((job for _, flow in dealer.flows for job in flow.jobs), default=0)


def _normal(world: World) -> World:
    """Equal for all that go on in the same way: tags count from the clock, jobs are numbered anew."""
    dealer = world.dealer
    ages = {job: place for place, job in enumerate(sorted(job for _, flow in dealer.flows for job in flow.jobs))}
    flows = tuple(
        (name, Flow(tuple(ages[job] for job in flow.jobs), flow.tag - dealer.clock)) for name, flow in dealer.flows
    )
    waiting = {name for name, _ in flows}
    overtaken = tuple(sorted(each for each in world.overtaken if each[0] in waiting))
    return world._replace(dealer=Dealer(flows), overtaken=overtaken)


def _story(came: Mapping[World, tuple[World, str]], world: World) -> tuple[str, ...]:
    steps: list[str] = []
    while came[world][1]:
        world, step = came[world]
        steps.append(step)
    return tuple(reversed(steps))
