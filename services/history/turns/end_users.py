"""How a session's document holds its end user."""

import orjson

from services.history.mongo.filters import Document
from shared.contracts.sessions import EndUser


def end_user_of(row: Document) -> EndUser | None:
    """The end user, whose metadata is stored as JSON text."""
    return EndUser.model_validate(orjson.loads(row["endUser"])) if "endUser" in row else None
