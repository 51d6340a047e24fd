"""Pure: text that arrives in pieces, never cut inside a character."""


def whole_characters(text: str) -> str:
    """Joins surrogate pairs and replaces lone halves by U+FFFD."""
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


class CharacterJoiner:
    """Holds back half of a surrogate pair until its other half arrives.

    Servers that cut text by UTF-16 units send halves.
    """

    __slots__ = ("half",)

    def __init__(self) -> None:
        self.half = ""

    def add(self, text: str) -> str:
        if not text:
            return ""
        text, self.half = self.half + text, ""
        if "\ud800" <= text[-1] <= "\udbff":
            text, self.half = text[:-1], text[-1]
        return text if text.isascii() else whole_characters(text)

    def flush(self) -> str:
        """The text is over. A half that still waits becomes U+FFFD."""
        text, self.half = "\ufffd" if self.half else "", ""
        return text
