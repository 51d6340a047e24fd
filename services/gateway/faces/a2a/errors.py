"""Pure: what goes wrong, in the words of A2A 1.0 (sections 5.4, 9.5 and 11.6 of its specification)."""

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from services.gateway.faces.json_rpc import (
    INTERNAL_ERROR,
    INVALID_PARAMS,
    INVALID_REQUEST,
    METHOD_NOT_FOUND,
    PARSE_ERROR,
    RpcError,
    RpcId,
)
from shared.contracts.errors import ApiError, Code

_DOMAIN: Final = "a2a-protocol.org"
_TYPE: Final = "type.googleapis.com/google.rpc."


class Kind(NamedTuple):
    """`code`: of JSON-RPC. `status`, `name`: of HTTP+JSON."""

    code: int
    status: int
    name: str
    reason: str


TASK_NOT_FOUND: Final = Kind(-32001, 404, "NOT_FOUND", "TASK_NOT_FOUND")
TASK_NOT_CANCELABLE: Final = Kind(-32002, 409, "FAILED_PRECONDITION", "TASK_NOT_CANCELABLE")
PUSH_NOT_SUPPORTED: Final = Kind(-32003, 400, "FAILED_PRECONDITION", "PUSH_NOTIFICATION_NOT_SUPPORTED")
UNSUPPORTED_OPERATION: Final = Kind(-32004, 400, "FAILED_PRECONDITION", "UNSUPPORTED_OPERATION")
CONTENT_TYPE_NOT_SUPPORTED: Final = Kind(-32005, 415, "INVALID_ARGUMENT", "CONTENT_TYPE_NOT_SUPPORTED")
NO_EXTENDED_CARD: Final = Kind(-32007, 400, "FAILED_PRECONDITION", "EXTENDED_AGENT_CARD_NOT_CONFIGURED")
VERSION_NOT_SUPPORTED: Final = Kind(-32009, 400, "FAILED_PRECONDITION", "VERSION_NOT_SUPPORTED")
PARSE: Final = Kind(PARSE_ERROR, 400, "INVALID_ARGUMENT", "PARSE_ERROR")
REQUEST: Final = Kind(INVALID_REQUEST, 400, "INVALID_ARGUMENT", "INVALID_REQUEST")
PARAMS: Final = Kind(INVALID_PARAMS, 400, "INVALID_ARGUMENT", "INVALID_PARAMS")
METHOD: Final = Kind(METHOD_NOT_FOUND, 404, "NOT_FOUND", "METHOD_NOT_FOUND")
BUSY: Final = UNSUPPORTED_OPERATION._replace(status=409)
INTERNAL: Final = Kind(INTERNAL_ERROR, 500, "INTERNAL", "INTERNAL_ERROR")

_OF_CODES: Final[Mapping[Code, Kind]] = {
    Code.TURN_NOT_FOUND: TASK_NOT_FOUND,
    Code.SESSION_NOT_FOUND: PARAMS,
    Code.TURN_IN_PROGRESS: BUSY,
    Code.SESSION_ENDED: BUSY,
    Code.GONE: TASK_NOT_FOUND,
    Code.IDEMPOTENCY_MISMATCH: PARAMS,
    Code.VALIDATION_FAILED: PARAMS,
    Code.INVALID_REQUEST: PARAMS,
    Code.INVALID_JSON: PARSE,
    Code.UNSUPPORTED_MEDIA_TYPE: CONTENT_TYPE_NOT_SUPPORTED,
    Code.PAYLOAD_TOO_LARGE: REQUEST._replace(status=413),
    Code.REQUEST_TIMEOUT: REQUEST._replace(status=408, name="DEADLINE_EXCEEDED"),
    Code.RATE_LIMITED: INTERNAL._replace(status=429, name="RESOURCE_EXHAUSTED", reason="RATE_LIMITED"),
    Code.BUDGET_EXCEEDED: INTERNAL._replace(status=429, name="RESOURCE_EXHAUSTED", reason="BUDGET_EXCEEDED"),
}
_SAID: Final[Mapping[Code, str]] = {
    Code.TURN_NOT_FOUND: "This agent has no such task.",
    Code.GONE: "The task has been erased.",
    Code.SESSION_NOT_FOUND: "This agent has no such context. Leave contextId out to start one.",
    Code.TURN_IN_PROGRESS: "A task of this context is still running. Wait for its end, or cancel it.",
    Code.SESSION_ENDED: "The context has ended. Leave contextId out to start another one.",
    Code.IDEMPOTENCY_MISMATCH: "Another message with this messageId was sent in this context.",
}


class A2aError(Exception):
    """`metadata`: texts for a program. `violations`: pairs of a member and what is wrong with it."""

    def __init__(
        self,
        kind: Kind,
        message: str,
        metadata: Mapping[str, str] | None = None,
        *,
        violations: list[dict[str, str]] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(kind, message)
        self.kind = kind
        self.message = message
        self.metadata = dict(metadata or {})
        self.violations = violations or []
        self.headers = dict(headers or {})

    @property
    def details(self) -> list[dict[str, Any]]:
        info = {"@type": _TYPE + "ErrorInfo", "reason": self.kind.reason, "domain": _DOMAIN, "metadata": self.metadata}
        if not self.violations:
            return [info]
        found = [{"field": each["field"], "description": each["message"]} for each in self.violations]
        return [info, {"@type": _TYPE + "BadRequest", "fieldViolations": found}]

    def rest(self) -> dict[str, Any]:
        """The body of HTTP+JSON."""
        kind = self.kind
        said = {"code": kind.status, "status": kind.name, "message": self.message, "details": self.details}
        return {"error": said}

    def rpc(self, request_id: RpcId | None) -> RpcError:
        """Of JSON-RPC. Its HTTP status is 200 unless a client must come back later: clients read no body of others."""
        status = self.kind.status if self.kind.status == 429 or self.kind.status >= 500 else 200
        return RpcError(
            self.kind.code, self.message, self.details, status=status, request_id=request_id, headers=self.headers
        )


def of_api(error: ApiError) -> A2aError:
    """An error of the API in the words of A2A."""
    kind = _OF_CODES.get(error.code) or INTERNAL._replace(status=max(error.status, 500))
    metadata = {"code": str(error.code)} | {
        name: value for name, value in error.members.items() if isinstance(value, str)
    }
    if "activeTurnId" in metadata:
        metadata["taskId"] = metadata.pop("activeTurnId")
    headers = dict(error.headers)
    if kind.status in (429, 503):
        headers.setdefault("Retry-After", "1")
    return A2aError(
        kind, _SAID.get(error.code, error.detail), metadata, violations=error.errors or None, headers=headers
    )
