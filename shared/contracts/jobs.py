"""Orders that go through the queue: ids only. What is said stays out of jobs, which are logged and live as long as their turns."""

from typing import NamedTuple


class RunTurn(NamedTuple):
    """The arguments of the arq job `run_turn`, whose id is the turn's."""

    workspace: str
    turn_id: str
    agent_id: str
    agent_version: int


class Lease(NamedTuple):
    """The right to run a turn: held under a value of its own, so that an older claim of the same worker is another holder."""

    turn_id: str
    claim_id: str
