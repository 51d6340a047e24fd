"""Which Snowball stemmer a text is read with: by its script, and in Latin script by its commonest words."""

import re
from typing import Final

from services.agent_worker.knowledge.stop_words import language_of_words

# No stemmer: another script, a language without one, or too few words to tell.
PLAIN: Final = ""
_SCRIPTS: Final = (
    ("russian", re.compile("[\u0400-\u04ff]")),
    ("arabic", re.compile("[\u0600-\u06ff]")),
    ("greek", re.compile("[\u0370-\u03ff]")),
    ("hindi", re.compile("[\u0900-\u097f]")),
    ("tamil", re.compile("[\u0b80-\u0bff]")),
    ("armenian", re.compile("[\u0530-\u058f]")),
)
# Letters by which other languages of a script are told apart. Marathi and Nepali are read as Hindi.
_SIGNS: Final = (
    ("russian", re.compile("[јљњћђџ]"), "serbian"),
    ("russian", re.compile("[іїєґў]"), PLAIN),
    ("arabic", re.compile("[ٹڈڑےں]"), PLAIN),
    ("arabic", re.compile("[پچژگک]"), "persian"),
)
_HEAD: Final = 600


def stemmer_of(text: str, words: list[str]) -> str | None:
    """The stemmer for a text in lower case and its words. None: too few words tell."""
    head = text[:_HEAD]
    if (script := _of_script(head)) is not None:
        return script
    language = language_of_words(words[:_HEAD])
    return PLAIN if language == "vietnamese" else language


def _of_script(head: str) -> str | None:
    """None: mostly Latin, or a script without a stemmer."""
    if head.isascii():
        return None
    counts = {name: len(letters.findall(head)) for name, letters in _SCRIPTS}
    best = max(counts, key=counts.__getitem__)
    if counts[best] * 3 < len(head):
        return None
    return next((name for script, letters, name in _SIGNS if script == best and letters.search(head)), best)
