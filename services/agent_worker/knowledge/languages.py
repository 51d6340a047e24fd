"""Which Snowball stemmer a text is read with: by its script, and in Latin script by its commonest words."""

import re
from typing import Final

from services.agent_worker.knowledge.stop_words import language_of_words

# No stemmer: another script, a language without one, or too few words to tell.
PLAIN: Final = ""
# With the high byte of their characters in UTF-16.
_SCRIPTS: Final = (
    ("russian", re.compile("[\u0400-\u04ff]"), 0x04),
    ("arabic", re.compile("[\u0600-\u06ff]"), 0x06),
    ("greek", re.compile("[\u0370-\u03ff]"), 0x03),
    ("hindi", re.compile("[\u0900-\u097f]"), 0x09),
    ("tamil", re.compile("[\u0b80-\u0bff]"), 0x0B),
    ("armenian", re.compile("[\u0530-\u058f]"), 0x05),
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
    high = head.encode("utf-16-le", "surrogatepass")[1::2]
    # The script with most characters in its block of 256, of which it has a half at least.
    name, letters, _ = max(_SCRIPTS, key=lambda script: high.count(script[2]))
    if len(letters.findall(head)) * 3 < len(head):
        return None
    return next((named for script, signs, named in _SIGNS if script == name and signs.search(head)), name)
