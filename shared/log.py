"""JSON lines on standard output, one event each. No prompts, answers or keys: what looks like a key is redacted."""

import logging
import re
import sys
from typing import Any

import orjson
import structlog
from structlog.typing import EventDict, FilteringBoundLogger

_KEY = re.compile(r"parley_(sk|pk)_[A-Za-z0-9_\-]+|Bearer\s+[A-Za-z0-9._\-]+")


def _redacted(value: Any) -> Any:
    return _KEY.sub("[redacted]", value) if isinstance(value, str) else value


def redact(_logger: Any, _method: str, event: EventDict) -> EventDict:
    """Redacts keys.

    It runs right before rendering, so that it covers the texts of exceptions and of other libraries.
    """
    return {name: _redacted(value) for name, value in event.items()}


def configure(service: str, level: str) -> None:
    """Call it once per process, before anything logs."""
    threshold = logging.getLevelNamesMapping()[level.upper()]
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
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
