"""Whether a failure is an outage, which is waited out, or belongs to one turn, which must not hold up the others."""

from typing import Final

from redis.exceptions import RedisError, ResponseError

from shared.contracts.errors import ApiError, Code

# Redis answers these to a command that it will refuse again. Its other refusals (OOM, READONLY, LOADING ...) pass.
_PERMANENT: Final = ("WRONGTYPE", "ERR", "INVALIDOBJ")


def is_outage(error: Exception) -> bool:
    """An outage of a store. Anything else would most likely fail again for the same turn."""
    if isinstance(error, ApiError):
        return error.code in (Code.DEPENDENCY_UNAVAILABLE, Code.OVERLOADED)
    if isinstance(error, ResponseError):
        return not str(error).startswith(_PERMANENT)
    return isinstance(error, (RedisError, OSError))
