"""Regular expressions that authors write. RE2 runs them in linear time and bounded memory, whatever they are."""

from collections.abc import Callable
from functools import lru_cache
from typing import Any, Final

import re2  # type: ignore[import-untyped]

MAX_MEMORY: Final = 1 << 20
KEPT: Final = 256


class BadPattern(Exception):
    """The pattern is not one of RE2's. The text says why, for the author."""


def is_match(pattern: str, text: str) -> bool:
    """Whether the pattern matches anywhere in the text. Raises BadPattern."""
    return _compiled(pattern).search(text) is not None


def checked_pattern(pattern: str) -> None:
    """Raises BadPattern."""
    _compiled(pattern)


def replaced(pattern: str, replacement: str, text: str) -> str:
    """The text with each match replaced. Backslashes in `replacement` mean themselves. Raises BadPattern."""
    found: str = _compiled(pattern).sub(replacement.replace("\\", "\\\\"), text)
    return found


def substituted(pattern: str, replace: Callable[[str], str], text: str) -> str:
    """The text with each match replaced by what the function makes of it. Raises BadPattern."""
    found: str = _compiled(pattern).sub(lambda match: replace(match.group(0)), text)
    return found


@lru_cache(KEPT)
def _compiled(pattern: str) -> Any:
    options = re2.Options()
    options.max_mem = MAX_MEMORY
    options.log_errors = False
    try:
        return re2.compile(pattern, options)
    except re2.error as error:
        reason = error.args[0] if error.args else ""
        raise BadPattern(reason.decode(errors="replace") if isinstance(reason, bytes) else str(reason)) from None
