"""`{{variables}}` in an agent's texts: which names a text uses, and the text with their values. Pure.

A name is `name` (a member of the session's metadata), `endUser.id`, `endUser.name`, `endUser.<member of its metadata>`,
or a built-in: `now` (RFC 3339, UTC), `today` (the date, UTC), `agent.name`, `agent.id`, `session.id`. White space
inside the braces is ignored. Nothing else is a template: no expressions, no filters, and a value is never read as a
template again.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Final

_VARIABLE: Final = re.compile(r"\{\{\s*([^{}]*?)\s*\}\}")
_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,63}(?:\.[A-Za-z_][A-Za-z0-9_-]{0,63})?")
BUILT_INS: Final = frozenset({"now", "today", "agent.name", "agent.id", "session.id"})
END_USER: Final = "endUser."
MAX_VALUE: Final = 4000


def names_in(text: str) -> list[str]:
    """The names that a text uses, in order, each once, also those that are not valid names."""
    return list(dict.fromkeys(found[1] for found in _VARIABLE.finditer(text)))


def is_known(name: str) -> bool:
    """Whether a session can give this name a value. A name with a dot is a built-in or one of the end user's."""
    if _NAME.fullmatch(name) is None:
        return False
    return "." not in name or name in BUILT_INS or name.startswith(END_USER)


def caller_names(texts: Iterable[str]) -> list[str]:
    """The names whose values come with a session: all but the built-ins."""
    return list(dict.fromkeys(name for text in texts for name in names_in(text) if name not in BUILT_INS))


def missing(texts: Iterable[str], values: Mapping[str, str]) -> list[str]:
    """The names, other than built-ins, that have no value."""
    return [name for name in caller_names(texts) if name not in values]


def render(text: str, values: Mapping[str, str]) -> str:
    """The text with each variable replaced; one without a value becomes nothing."""
    if "{{" not in text:
        return text
    return _VARIABLE.sub(lambda found: values.get(found[1], "")[:MAX_VALUE], text)
