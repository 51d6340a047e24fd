"""Query parameters, headers and body errors that several routes share."""

from typing import Final

from services.gateway.edge.route import Param
from shared.contracts.errors import Code

STREAM: Final = "text/event-stream"
LIMIT: Final = Param("limit", {"type": "integer", "minimum": 1, "maximum": 200, "default": 50}, "how many at most")
SHORT_LIMIT: Final = Param("limit", {**LIMIT.schema, "default": 20}, LIMIT.description)
CURSOR: Final = Param("cursor", {"type": "string", "pattern": "^[!-~]{1,500}$"}, "`nextCursor` of the page before")
ORDER: Final = Param("order", {"enum": ["asc", "desc"], "default": "asc"}, "oldest or newest first")
IDEMPOTENCY: Final = Param(
    "Idempotency-Key",
    {"type": "string", "pattern": "^[!-~]{1,200}$"},
    "a repeat with the same key and body gets the same turn; with another body, 422",
    "header",
)
PREFER: Final = Param(
    "Prefer", {"type": "string"}, "`respond-async`: 202 at once, the answer by following the turn", "header"
)
BODY: Final = (Code.INVALID_JSON, Code.REQUEST_TIMEOUT, Code.PAYLOAD_TOO_LARGE, Code.UNSUPPORTED_MEDIA_TYPE)
OWN_BODY: Final = (*BODY, Code.VALIDATION_FAILED)
