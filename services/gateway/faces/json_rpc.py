"""Pure: JSON-RPC 2.0 as MCP and A2A speak it: one request per body, and an answer that is a result or an error."""

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from shared.contracts.errors import ApiError

PARSE_ERROR: Final = -32700
INVALID_REQUEST: Final = -32600
METHOD_NOT_FOUND: Final = -32601
INVALID_PARAMS: Final = -32602
INTERNAL_ERROR: Final = -32603
MAX_METHOD: Final = 200
MAX_ID: Final = 200

RpcId = str | int


class RpcError(Exception):
    """An error that is answered as JSON-RPC. `status` is the HTTP status of an answer that is not a stream.

    `request_id` None: the body names no request that could be answered.
    """

    def __init__(
        self,
        code: int,
        message: str,
        data: Any = None,
        *,
        status: int = 400,
        request_id: RpcId | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(code, message)
        self.code = code
        self.message = message
        self.data = data
        self.status = status
        self.request_id = request_id
        self.headers = dict(headers or {})

    def wire(self) -> dict[str, Any]:
        """The answer's body."""
        error: dict[str, Any] = {"code": self.code, "message": self.message}
        if self.data is not None:
            error["data"] = self.data
        return {"jsonrpc": "2.0", "id": self.request_id, "error": error}


class RpcRequest(NamedTuple):
    """`id` None: a notification, which gets no answer."""

    id: RpcId | None
    method: str
    params: dict[str, Any]

    def result(self, value: Any) -> dict[str, Any]:
        """The answer's body."""
        return {"jsonrpc": "2.0", "id": self.id, "result": value}


def parse_rpc(body: Any) -> RpcRequest:
    """Raises RpcError with the request's id, where it has one that can be used."""
    if not isinstance(body, dict):
        raise RpcError(INVALID_REQUEST, "The body must be one JSON-RPC object. Batches are not supported.")
    request_id = body.get("id")
    if "id" in body and not _is_id(request_id):
        raise RpcError(INVALID_REQUEST, f"id must be an integer, or a text of at most {MAX_ID} characters.")
    if body.get("jsonrpc") != "2.0":
        raise RpcError(INVALID_REQUEST, 'jsonrpc must be "2.0".', request_id=request_id)
    method, params = body.get("method"), body.get("params", {})
    if not isinstance(method, str) or not 0 < len(method) <= MAX_METHOD:
        raise RpcError(INVALID_REQUEST, "method must be the name of a method.", request_id=request_id)
    if not isinstance(params, dict):
        raise RpcError(INVALID_PARAMS, "params must be an object.", request_id=request_id)
    return RpcRequest(request_id, method, params)


def _is_id(value: Any) -> bool:
    if isinstance(value, str):
        return len(value) <= MAX_ID
    return isinstance(value, int) and not isinstance(value, bool)


def unreadable(error: ApiError) -> RpcError:
    """The answer to a body that could not be read as JSON. `error` says why."""
    return RpcError(PARSE_ERROR, error.detail, status=error.status, headers=error.headers)


def as_rpc(error: ApiError) -> RpcError:
    """An error of the API that the protocol has no code of its own for. `data` is the problem document."""
    headers = dict(error.headers)
    if error.status in (429, 503):
        headers.setdefault("Retry-After", "1")
    return RpcError(INTERNAL_ERROR, error.detail, error.problem(), status=error.status, headers=headers)
