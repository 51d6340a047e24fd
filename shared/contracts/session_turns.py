"""A page of a session's turns, as history answers it."""

from shared.contracts.schema import Schema
from shared.contracts.sessions import Session
from shared.contracts.turns import StoredTurn


class SessionTurns(Schema):
    """A page of a session's turns in the order of their numbers. `next` is the number that the next page begins with.

    The session was read before its turns. `next` None: these are the last turns so far. Of the turns of a branch the
    last ones come first, so `next` leads to earlier ones.
    """

    session: Session
    turns: tuple[StoredTurn, ...] = ()
    next: int | None = None
