"""Pure: a model's reasoning, apart from its answer."""

from typing import Any, Final, Literal

# The first that a chunk has is its reasoning: OpenRouter sends the same text under two names.
_TEXTS: Final = ("reasoning_content", "reasoning", "thinking")
_OPEN: Final = "<think>"
_CLOSE: Final = "</think>"


def reasoning_of(delta: dict[str, Any]) -> str:
    """The readable reasoning of a delta."""
    for name in _TEXTS:
        value = delta.get(name)
        if isinstance(value, str) and value:
            return value
    content = delta.get("content")
    return "".join(_thought(part) for part in content) if isinstance(content, list) else ""


def _thought(part: Any) -> str:
    """Mistral's parts: `{"type": "thinking", "thinking": [{"type": "text", "text": "…"}]}`."""
    if not isinstance(part, dict) or part.get("type") not in ("thinking", "reasoning"):
        return ""
    inner = part.get("thinking") or part.get("text") or part.get("reasoning")
    if isinstance(inner, list):
        return "".join(str(piece.get("text") or "") for piece in inner if isinstance(piece, dict))
    return inner if isinstance(inner, str) else ""


class ThinkTags:
    """Splits `<think>…</think>` at the start of an answer from the text behind it, however the tags are cut."""

    __slots__ = ("_held", "_stage", "is_over")

    def __init__(self) -> None:
        self._held = ""
        self._stage: Literal["before", "inside", "behind"] = "before"
        self.is_over = False  # From here on all is text.

    def add(self, text: str) -> tuple[str, str]:
        """The reasoning and the text that are certain by now."""
        if self.is_over:
            return "", text
        self._held += text
        if self._stage == "before":
            begin = self._held.lstrip()
            if not begin.startswith(_OPEN):
                return ("", "") if _OPEN.startswith(begin) else ("", self._end())
            self._stage, self._held = "inside", begin[len(_OPEN) :]
        thought = self._thought() if self._stage == "inside" else ""
        if self._stage == "behind":
            # The white space between the tag and the text belongs to neither.
            self._held = self._held.lstrip()
            return thought, self._end() if self._held else ""
        return thought, ""

    def _thought(self) -> str:
        thought, tag, rest = self._held.partition(_CLOSE)
        if tag:
            self._stage, self._held = "behind", rest
            return thought
        kept = next((size for size in range(len(_CLOSE) - 1, 0, -1) if thought.endswith(_CLOSE[:size])), 0)
        self._held = thought[len(thought) - kept :]
        return thought[: len(thought) - kept]

    def _end(self) -> str:
        self.is_over = True
        text, self._held = self._held, ""
        return text

    def flush(self) -> tuple[str, str]:
        """The answer is over."""
        held = self._end()
        return (held, "") if self._stage == "inside" else ("", held)
