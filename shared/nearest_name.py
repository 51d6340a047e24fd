"""A hint for a name that nobody knows."""

from collections.abc import Iterable
from difflib import get_close_matches


def nearest_name(name: str, known: Iterable[str]) -> str | None:
    """The known name that the unknown one was probably meant to be. None: no name is close."""
    return next(iter(get_close_matches(name, sorted(known), n=1)), None)
