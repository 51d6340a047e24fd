"""What can go wrong in MongoDB, as two exceptions of our own and one ApiError."""

from typing import Final

from pymongo.errors import BulkWriteError, DuplicateKeyError, OperationFailure, PyMongoError

from services.history.metrics import STORE_ERRORS
from shared.contracts.errors import ApiError, Code
from shared.log import get_logger

log = get_logger()

_DUPLICATE_KEY: Final = 11000
# MongoDB would refuse the same document again: it is too large (10334, 17419, 17420), nested too deeply (15), has a
# member name or a value that cannot be stored (2, 9, 14, 28, 52, 56, 57), or fails the collection's validation (121).
_UNSTORABLE: Final = frozenset({2, 9, 14, 15, 28, 52, 56, 57, 121, 10334, 17419, 17420})


class Duplicate(Exception):
    """A unique index already holds this document, or another document with the same key."""


class Unstorable(Exception):
    """The document can never be stored as it is: it is too large, or BSON cannot encode it."""


def unavailable() -> ApiError:
    """Counted, also where the server is known to be away and the call is not made: an alert watches it."""
    STORE_ERRORS.labels("mongodb").inc()
    return ApiError(Code.DEPENDENCY_UNAVAILABLE, "The database does not answer.")


def translated(error: PyMongoError) -> Exception:
    """Every other error (not primary, disk full, timeout) counts as an outage: the operation may succeed later."""
    codes = {error.code} if isinstance(error, OperationFailure) else set()
    if isinstance(error, BulkWriteError):
        failures = [*error.details.get("writeErrors", ()), *error.details.get("writeConcernErrors", ())]
        codes = {failure["code"] for failure in failures}
    if isinstance(error, DuplicateKeyError) or codes == {_DUPLICATE_KEY}:
        return Duplicate()
    if codes & _UNSTORABLE:
        return Unstorable()
    known = sorted(code for code in codes if code is not None)
    log.warning("mongodb_failed", error=type(error).__name__, codes=known)
    return unavailable()
