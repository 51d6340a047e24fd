"""What a waiting request is answered when its turn fails."""

from typing import Any, Final

from shared.contracts.errors import ApiError, Code

TURN_ENDS: Final = (Code.TURN_FAILED, Code.UPSTREAM_ERROR, Code.TURN_TIMEOUT)


def failed_turn(data: dict[str, Any]) -> ApiError:
    """The turn's own problem, from the data of its `error` frame.

    SDKs repeat every 5xx. A turn that would only fail again says that it must not be repeated.
    """
    error = ApiError.from_problem(data)
    if not error.retryable:
        error.headers["x-should-retry"] = "false"
    return error
