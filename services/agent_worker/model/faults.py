"""Pure: what is wrong with a model call, and whether the same call may do better."""

import re
from enum import StrEnum
from typing import Any, Final, NamedTuple

from services.agent_worker.model.error_codes import (
    BILLING_CODES,
    BUSY_CODES,
    BUSY_STATUSES,
    CONTEXT_CODES,
    CONTEXT_SENTENCES,
    PASSING_STATUSES,
    PERMANENT_5XX,
    PERMANENT_CODES,
    plain,
)
from shared.contracts.errors import Code


class FaultKind(StrEnum):
    """The values are labels of `parley_model_faults_total`, so this bounds them."""

    NETWORK = "network"
    TIMEOUT = "timeout"
    BUSY = "busy"
    SERVER = "server"
    REFUSED = "refused"
    CONTEXT_LENGTH = "context_length"
    BAD_STREAM = "bad_stream"
    CUT = "cut"
    CONFIGURATION = "configuration"


class UpstreamError(NamedTuple):
    """What a server said of an error. `message` and `body` may quote a prompt: they are searched, and never logged."""

    status: int | None = None
    code: str = ""
    type: str = ""
    param: str = ""
    message: str = ""
    retry_after_s: float = 0.0
    body: Any = None


class ModelFault(Exception):
    """A model call has failed.

    `retryable`: the same model may do better. `after_text`: the client has seen part of the answer.
    """

    def __init__(
        self,
        reason: str,
        *,
        retryable: bool,
        kind: FaultKind = FaultKind.SERVER,
        error: UpstreamError | None = None,
        after_text: bool = False,
    ) -> None:
        super().__init__(reason)
        self.code = Code.UPSTREAM_ERROR
        self.reason = reason
        self.retryable = retryable
        self.kind = kind
        self.error = error or UpstreamError()
        self.after_text = after_text

    @property
    def retry_after_s(self) -> float:
        return self.error.retry_after_s


def error_in(chunk: dict[str, Any]) -> UpstreamError | None:
    """The error that a 200's chunk or body holds: an object, a text, or the chunk itself (a flat error object)."""
    error = chunk.get("error")
    if error:
        return read_error(error, body=chunk)
    if "choices" in chunk:
        return None
    status = chunk.get("base_resp")
    if isinstance(status, dict) and status.get("status_code"):
        return UpstreamError(code=str(status["status_code"]), message=str(status.get("status_msg", "")), body=chunk)
    is_error = (
        chunk.get("object") == "error" or chunk.get("type") == "error" or "detail" in chunk or "error_code" in chunk
    )
    if is_error or (
        isinstance(chunk.get("message"), str) and ("code" in chunk or "status" in chunk or "type" in chunk)
    ):
        return read_error(chunk, body=chunk)
    return None


def read_error(error: Any, *, body: Any = None, status: int | None = None, retry_after_s: float = 0.0) -> UpstreamError:
    """`status` is the HTTP status, where the answer has one of its own."""
    if not isinstance(error, dict):
        return UpstreamError(status=status, message=str(error), retry_after_s=retry_after_s, body=body)
    inner = error.get("error")
    if isinstance(inner, dict):
        error = error | inner
    code = next((error[name] for name in ("code", "status_code", "error_code", "status") if error.get(name)), "")
    number = _status(code) or _status(error.get("status"))
    deeper = error.get("innererror")
    return UpstreamError(
        status=status or number,
        code="" if _status(code) else str(code),
        type=str(
            error.get("type") or error.get("status") or (deeper.get("code") if isinstance(deeper, dict) else "") or ""
        ),
        param=str(error.get("param") or ""),
        message=str(error.get("message") or error.get("detail") or error.get("error_msg") or inner or ""),
        retry_after_s=retry_after_s or _retry_delay(error),
        body=body if body is not None else error,
    )


def _status(value: Any) -> int | None:
    """An HTTP status, also where it is text: `"400"`."""
    if isinstance(value, str) and value.strip().isdecimal() and len(value.strip()) == 3:
        value = int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) and 400 <= value < 600 else None


def _retry_delay(error: dict[str, Any]) -> float:
    """Google's `RetryInfo`: `{"retryDelay": "3.5s"}` among the details."""
    details = error.get("details")
    for detail in details if isinstance(details, list) else ():
        delay = detail.get("retryDelay") if isinstance(detail, dict) else None
        if isinstance(delay, str) and re.fullmatch(r"\d{1,6}(?:\.\d+)?s", delay):
            return float(delay[:-1])
    return 0.0


def fault_of(error: UpstreamError, reason: str) -> ModelFault:
    """A server's error as a fault. Words about the context's length count first: servers send them with any status."""
    codes = {plain(word) for word in (error.code, error.type)}
    if codes & CONTEXT_CODES or CONTEXT_SENTENCES.search(error.message):
        return ModelFault(reason, retryable=False, kind=FaultKind.CONTEXT_LENGTH, error=error)
    if codes & BILLING_CODES:
        return ModelFault(reason, retryable=False, kind=FaultKind.REFUSED, error=error)
    if error.status is not None:
        passing = error.status in PASSING_STATUSES or (error.status >= 500 and error.status not in PERMANENT_5XX)
        busy = error.status in BUSY_STATUSES
    else:
        busy = bool(codes & BUSY_CODES)
        passing = busy or not codes & PERMANENT_CODES
    kind = FaultKind.BUSY if busy else FaultKind.SERVER if passing else FaultKind.REFUSED
    return ModelFault(reason, retryable=passing, kind=kind, error=error)


_PLAIN: Final = re.compile(r"[A-Za-z0-9_.:/\[\]-]{1,64}")


def facts_of(fault: ModelFault) -> dict[str, Any]:
    """What may be logged: names and numbers, never a sentence, because servers quote prompts in their messages."""
    error = fault.error
    words = {"code": error.code, "type": error.type, "param": error.param}
    facts: dict[str, Any] = {"kind": fault.kind.value, "reason": fault.reason, "after_text": fault.after_text}
    if error.status is not None:
        facts["status"] = error.status
    return facts | {f"error_{name}": word for name, word in words.items() if _PLAIN.fullmatch(word)}
