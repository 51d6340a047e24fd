"""What can go wrong in MongoDB, as two exceptions of our own and one ApiError."""

from typing import Final

from pymongo.errors import BulkWriteError, DocumentTooLarge, DuplicateKeyError, OperationFailure, PyMongoError

from shared.contracts.errors import ApiError, Code
from shared.log import get_logger

log = get_logger()

_DUPLICATE_KEY: Final = 11000
# BSONObjectTooLarge and related codes: the same document would be refused again.
_TOO_LARGE: Final = frozenset({10334, 17419, 17420})


class Duplicate(Exception):
    """A unique index already holds this document, or another document with the same key."""


class Unstorable(Exception):
    """The document can never be stored as it is: it is too large, or BSON cannot encode it."""


def unavailable() -> ApiError:
    return ApiError(Code.DEPENDENCY_UNAVAILABLE, "The database does not answer.")


def translated(error: PyMongoError) -> Exception:
    """Every other error (not primary, disk full, timeout) counts as an outage: the operation may succeed later."""
    codes = {error.code} if isinstance(error, OperationFailure) else set()
    if isinstance(error, BulkWriteError):
        codes = {failure["code"] for failure in error.details.get("writeErrors", ())}
    if isinstance(error, DuplicateKeyError) or codes == {_DUPLICATE_KEY}:
        return Duplicate()
    if isinstance(error, DocumentTooLarge) or codes & _TOO_LARGE:
        return Unstorable()
    known = sorted(code for code in codes if code is not None)
    log.warning("mongodb_failed", error=type(error).__name__, codes=known)
    return unavailable()
