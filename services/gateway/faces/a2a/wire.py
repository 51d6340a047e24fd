"""Pure: how each binding writes what is in a stream. JSON-RPC wraps each event in an answer, HTTP+JSON does not."""

from collections.abc import Callable
from typing import Any, NamedTuple

from services.gateway.faces.a2a.errors import A2aError
from services.gateway.faces.json_rpc import RpcId
from shared.contracts.frames import json_line


class Wire(NamedTuple):
    """The bytes around an event's JSON, and the event of an error."""

    before: bytes
    after: bytes
    error: Callable[[A2aError], bytes]

    def event(self, value: dict[str, Any]) -> bytes:
        return self.before + json_line(value) + self.after


def rpc_wire(request_id: RpcId | None) -> Wire:
    head = b'data: {"jsonrpc":"2.0","id":' + json_line(request_id) + b',"result":'
    return Wire(head, b"}\n\n", lambda error: b"data: " + json_line(error.rpc(request_id).wire()) + b"\n\n")


def rest_wire() -> Wire:
    return Wire(b"data: ", b"\n\n", lambda error: b"event: error\ndata: " + json_line(error.rest()) + b"\n\n")
