"""Every error that a client can see: code → HTTP status → retryable, and the one body that shows it."""

import math
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, NamedTuple


class Code(StrEnum):
    INVALID_JSON = "invalid_json"
    INVALID_REQUEST = "invalid_request"
    MISSING_API_KEY = "missing_api_key"
    INVALID_API_KEY = "invalid_api_key"
    EXPIRED_API_KEY = "expired_api_key"
    INVALID_VISITOR_TOKEN = "invalid_visitor_token"  # noqa: S105 (the name of an error)
    EXPIRED_VISITOR_TOKEN = "expired_visitor_token"  # noqa: S105
    INVALID_IDENTITY = "invalid_identity"
    INSUFFICIENT_SCOPE = "insufficient_scope"
    ORIGIN_NOT_ALLOWED = "origin_not_allowed"
    IDENTITY_REQUIRED = "identity_required"
    CHALLENGE_REQUIRED = "challenge_required"
    NOT_FOUND = "not_found"
    SESSION_NOT_FOUND = "session_not_found"
    TURN_NOT_FOUND = "turn_not_found"
    AGENT_NOT_FOUND = "agent_not_found"
    MODEL_NOT_FOUND = "model_not_found"
    METHOD_NOT_ALLOWED = "method_not_allowed"
    REQUEST_TIMEOUT = "request_timeout"
    TURN_IN_PROGRESS = "turn_in_progress"
    SESSION_ENDED = "session_ended"
    NO_PUBLISHED_VERSION = "no_published_version"
    VERSION_CONFLICT = "version_conflict"
    GONE = "gone"
    PAYLOAD_TOO_LARGE = "payload_too_large"
    UNSUPPORTED_MEDIA_TYPE = "unsupported_media_type"
    EXPECTATION_FAILED = "expectation_failed"
    VALIDATION_FAILED = "validation_failed"
    IDEMPOTENCY_MISMATCH = "idempotency_mismatch"
    RATE_LIMITED = "rate_limited"
    BUDGET_EXCEEDED = "budget_exceeded"
    TURN_FAILED = "turn_failed"
    INTERNAL_ERROR = "internal_error"
    UPSTREAM_ERROR = "upstream_error"
    OVERLOADED = "overloaded"
    DEPENDENCY_UNAVAILABLE = "dependency_unavailable"
    DRAINING = "draining"
    TURN_TIMEOUT = "turn_timeout"


class Meaning(NamedTuple):
    status: int
    retryable: bool
    title: str
    openai_type: str = "invalid_request_error"
    # What follows the title in `detail`, where the code that raises it says no more: what to do about it.
    advice: str = ""


MEANINGS: dict[Code, Meaning] = {
    Code.INVALID_JSON: Meaning(400, False, "The body is not JSON that can be stored"),
    Code.INVALID_REQUEST: Meaning(400, False, "The request is malformed"),
    Code.MISSING_API_KEY: Meaning(401, False, "The API key is missing", "authentication_error"),
    Code.INVALID_API_KEY: Meaning(
        401,
        False,
        "The API key is not valid",
        "authentication_error",
        "It may have been revoked, or be of another server.",
    ),
    Code.EXPIRED_API_KEY: Meaning(401, False, "The API key has expired", "authentication_error"),
    Code.INVALID_VISITOR_TOKEN: Meaning(401, False, "The visitor token is not valid", "authentication_error"),
    Code.EXPIRED_VISITOR_TOKEN: Meaning(401, False, "The visitor token has expired", "authentication_error"),
    Code.INVALID_IDENTITY: Meaning(401, False, "The visitor's identity is not valid", "authentication_error"),
    Code.INSUFFICIENT_SCOPE: Meaning(403, False, "The key lacks a scope", "permission_error"),
    Code.ORIGIN_NOT_ALLOWED: Meaning(403, False, "The key may not be used from this origin", "permission_error"),
    Code.IDENTITY_REQUIRED: Meaning(403, False, "The visitor must be identified", "permission_error"),
    Code.CHALLENGE_REQUIRED: Meaning(403, False, "A challenge must be solved first", "permission_error"),
    Code.NOT_FOUND: Meaning(404, False, "Not found", "not_found_error", "Nothing in your workspace has this id."),
    Code.SESSION_NOT_FOUND: Meaning(404, False, "No such session", "not_found_error"),
    Code.TURN_NOT_FOUND: Meaning(404, False, "No such turn", "not_found_error"),
    Code.AGENT_NOT_FOUND: Meaning(404, False, "No such agent", "not_found_error", "GET /api/v1/agents lists yours."),
    Code.MODEL_NOT_FOUND: Meaning(404, False, "No such model", "not_found_error", "GET /api/v1/models lists yours."),
    Code.METHOD_NOT_ALLOWED: Meaning(405, False, "The method is not allowed here"),
    Code.REQUEST_TIMEOUT: Meaning(408, True, "The request took too long to arrive"),
    Code.TURN_IN_PROGRESS: Meaning(409, True, "A turn is running in this session"),
    Code.SESSION_ENDED: Meaning(409, False, "The session has ended"),
    Code.NO_PUBLISHED_VERSION: Meaning(
        409, False, "The agent has no published version", advice="Publish its draft first."
    ),
    Code.VERSION_CONFLICT: Meaning(409, False, "The version has changed in the meantime"),
    Code.GONE: Meaning(410, False, "The content has been erased"),
    Code.PAYLOAD_TOO_LARGE: Meaning(413, False, "The body is too large"),
    Code.UNSUPPORTED_MEDIA_TYPE: Meaning(415, False, "The content type is not supported"),
    Code.EXPECTATION_FAILED: Meaning(417, False, "The Expect header is not supported"),
    Code.VALIDATION_FAILED: Meaning(422, False, "The body does not match the schema"),
    Code.IDEMPOTENCY_MISMATCH: Meaning(422, False, "The Idempotency-Key was used with another body"),
    Code.RATE_LIMITED: Meaning(429, True, "Too many requests", "rate_limit_error"),
    Code.BUDGET_EXCEEDED: Meaning(429, True, "A budget is used up", "insufficient_quota"),
    Code.TURN_FAILED: Meaning(500, False, "The turn failed", "server_error"),
    Code.INTERNAL_ERROR: Meaning(500, True, "An internal error occurred", "server_error"),
    Code.UPSTREAM_ERROR: Meaning(502, True, "The model did not answer", "server_error"),
    Code.OVERLOADED: Meaning(503, True, "The server is overloaded", "server_error"),
    Code.DEPENDENCY_UNAVAILABLE: Meaning(503, True, "A required dependency is unavailable", "server_error"),
    Code.DRAINING: Meaning(503, True, "The server is shutting down", "server_error"),
    Code.TURN_TIMEOUT: Meaning(504, True, "The turn took too long", "server_error"),
}


class ApiError(Exception):
    """An error that is shown to a client. `detail` is for people and never contains an exception's text.

    `errors` are `{"field", "message"}` pairs. `param` is OpenAI's name for the member at fault. `members` are further
    members of the problem document (`activeTurnId`, `turnId`). `headers` are added to the response.
    """

    def __init__(
        self,
        code: Code,
        detail: str | None = None,
        *,
        errors: list[dict[str, str]] | None = None,
        param: str | None = None,
        members: dict[str, Any] | None = None,
        headers: dict[str, str] | None = None,
        retryable: bool | None = None,
    ) -> None:
        super().__init__(code, detail)
        self.code = code
        self.detail = detail or f"{MEANINGS[code].title}. {MEANINGS[code].advice}".rstrip()
        self.errors = errors or []
        self.param = param
        self.members = members or {}
        self.headers = headers or {}
        self.retryable = MEANINGS[code].retryable if retryable is None else retryable

    @property
    def status(self) -> int:
        return MEANINGS[self.code].status

    def problem(self, instance: str | None = None) -> dict[str, Any]:
        """The RFC 9457 document. OpenAI's `error` member is included because their SDKs read nothing else.

        The same body is used in HTTP answers, in a stored turn's `error` and in `error` frames.
        """
        meaning = MEANINGS[self.code]
        body: dict[str, Any] = {
            "type": f"/errors/{self.code}",
            "title": meaning.title,
            "status": meaning.status,
            "detail": self.detail,
            "code": str(self.code),
            "retryable": self.retryable,
            **self.members,
            "error": {"message": self.detail, "type": meaning.openai_type, "param": self.param, "code": str(self.code)},
        }
        if instance is not None:
            body["instance"] = instance
        if self.errors:
            body["errors"] = self.errors
        return body

    @classmethod
    def from_problem(cls, body: dict[str, Any]) -> "ApiError":
        """Reads the error from a problem document, as history sends it. An unknown code becomes `internal_error`."""
        known = {"type", "title", "status", "detail", "code", "retryable", "error", "errors", "instance", "traceId"}
        try:
            code = Code(str(body.get("code")))
        except ValueError:
            code = Code.INTERNAL_ERROR
        return cls(
            code,
            body.get("detail"),
            errors=body.get("errors"),
            param=(body.get("error") or {}).get("param"),
            members={name: value for name, value in body.items() if name not in known},
            retryable=body.get("retryable"),
            headers=_retry_after(body.get("resetsAt")),
        )


def _retry_after(resets_at: Any) -> dict[str, str]:
    """Of an error that passes at a known time. It is told in seconds, so it is made anew where it is shown."""
    if not isinstance(resets_at, str):
        return {}
    left_s = (datetime.fromisoformat(resets_at) - datetime.now(UTC)).total_seconds()
    return {"Retry-After": str(max(1, math.ceil(left_s)))}
