"""Pure: what a client of the handshake needs to find its calls again, at any gateway, without anything being stored.

The id of a connection is only a name. Together with the caller's key and the id of a request it gives the id of the
turn, so that a notification can cancel it. The id of an event names the turn and the place in its stream.
"""

import base64
import binascii
import re
from typing import Any, Final, NamedTuple

import orjson

from services.gateway.faces.json_rpc import RpcId
from shared.contracts.frames import FrameId
from shared.ids import derived_id, is_id, new_id

CONNECTION_HEADER: Final = "Mcp-Session-Id"
_EVENT: Final = re.compile(r"(trn_[0-9a-z]{26})\.([0-9]{1,10}-[0-9]{1,10})\.([A-Za-z0-9_-]{1,2000})")

ProgressToken = str | int


class Ids(NamedTuple):
    """The ids that a call gives to what it makes."""

    session: str
    turn: str
    message: str


def new_connection() -> str:
    return new_id("mcp")


def is_connection(text: str) -> bool:
    return is_id("mcp", text)


def new_ids() -> Ids:
    return Ids(new_id("ses"), new_id("trn"), new_id("msg"))


def ids_of(connection: str, key_id: str, request_id: RpcId) -> Ids:
    """The same for a request that is sent twice. A client must not use the id of a request again (MCP 2025-11-25)."""
    names = (key_id, orjson.dumps(request_id).decode())
    return Ids(*(derived_id(prefix, connection, *names) for prefix in ("ses", "trn", "msg")))


class Place(NamedTuple):
    """Where a client's stream stands. `progress`: how many notifications it has received."""

    turn_id: str
    after: FrameId
    request_id: RpcId
    token: ProgressToken | None
    progress: int

    @property
    def event_id(self) -> str:
        rest = orjson.dumps([self.request_id, self.token, self.progress])
        return f"{self.turn_id}.{self.after}.{base64.urlsafe_b64encode(rest).decode().rstrip('=')}"

    @classmethod
    def parse(cls, text: str) -> "Place | None":
        """None: it is no id of an event."""
        found = _EVENT.fullmatch(text)
        if found is None or not is_id("trn", found[1]):
            return None
        try:
            rest = orjson.loads(base64.urlsafe_b64decode(found[3] + "=" * (-len(found[3]) % 4)))
        except (binascii.Error, orjson.JSONDecodeError):
            return None
        if not _is_rest(rest):
            return None
        attempt, _, seq = found[2].partition("-")
        return cls(found[1], FrameId(int(attempt), int(seq)), *rest)


def _is_rest(rest: Any) -> bool:
    return (
        isinstance(rest, list)
        and len(rest) == 3
        and is_name(rest[0])
        and (rest[1] is None or is_name(rest[1]))
        and isinstance(rest[2], int)
        and rest[2] >= 0
    )


def is_name(value: Any) -> bool:
    """Whether a value may be the id of a request or a progress token."""
    if isinstance(value, str):
        return len(value) <= 200
    return isinstance(value, int) and not isinstance(value, bool)
