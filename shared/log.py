"""JSON lines on standard output, one event each. No prompts, answers or keys: what looks like a key is redacted."""

import logging
import re
import sys
from typing import Any, Final

import orjson
import structlog
from structlog.typing import EventDict, FilteringBoundLogger

from shared.tracing.spans import trace_id

# Keys and tokens of Parley's, signing secrets, keys of model servers, bearer tokens, and the passwords in URLs.
_KEY: Final = re.compile(
    r"parley_[a-z]{2}_[A-Za-z0-9_\-]+|whsec_[A-Za-z0-9+/=]+|\bsk-[A-Za-z0-9_\-]{8,}"
    r"|(?i:Bearer|Basic)\s+[A-Za-z0-9._~+/=\-]+|(?<=://)[^\s/@\"']*:[^\s/@\"']*(?=@)"
)


def _redacted(value: Any) -> Any:
    match value:
        case str():
            return _KEY.sub("[redacted]", value)
        case bytes():
            return _KEY.sub("[redacted]", value.decode("utf-8", "replace"))
        case dict():
            return {_redacted(name): _redacted(inner) for name, inner in value.items()}
        case list() | tuple() | set() | frozenset():
            return [_redacted(inner) for inner in value]
        case None | bool() | int() | float():
            return value
        case _:
            return _KEY.sub("[redacted]", str(value))


def redact(_logger: Any, _method: str, event: EventDict) -> EventDict:
    """Redacts keys.

    It runs right before rendering, so that it covers the texts of exceptions and of other libraries.
    """
    return {_redacted(name): _redacted(value) for name, value in event.items()}


def add_trace_id(_logger: Any, _method: str, event: EventDict) -> EventDict:
    if (found := trace_id()) is not None:
        event["trace_id"] = found
    return event


def configure(service: str, level: str) -> None:
    """Call it once per process, before anything logs."""
    threshold = logging.getLevelNamesMapping()[level.upper()]
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        add_trace_id,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    ending: list[Any] = [
        structlog.processors.format_exc_info,
        redact,
        structlog.processors.JSONRenderer(serializer=lambda event, **_: orjson.dumps(event, default=str).decode()),
    ]
    structlog.configure(
        processors=[*shared, *ending],
        wrapper_class=structlog.make_filtering_bound_logger(threshold),
        logger_factory=structlog.PrintLoggerFactory(sys.stdout),
        cache_logger_on_first_use=True,
    )
    structlog.contextvars.bind_contextvars(service=service)
    # Records of the standard library's logging (aiohttp, arq, asyncio) get the same form as Parley's.
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared, processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *ending]
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(max(threshold, logging.WARNING))


def get_logger() -> FilteringBoundLogger:
    logger: FilteringBoundLogger = structlog.get_logger()
    return logger
