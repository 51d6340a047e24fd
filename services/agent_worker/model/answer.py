"""Pure: one model call's answer, put together from the chunks of its stream."""

from typing import Any, Final

from services.agent_worker.model.characters import CharacterJoiner
from services.agent_worker.model.companions import CompanionCollector
from services.agent_worker.model.conformance import ChunkParts, parts_of
from services.agent_worker.model.quirks import Quirk
from services.agent_worker.model.reasoning import ThinkTags
from services.agent_worker.model.tool_calls import CallAssembler
from services.agent_worker.model.usage import report_of
from shared.contracts.companions import companions_text
from shared.contracts.sessions import ToolCall
from shared.contracts.turns import FinishReason, Usage

# Reasons that leave a call's arguments incomplete, and win over a reason that a server sends beside them.
_CUTTING: Final = ("length", "content_filter")


class Answer:
    """Text, reasoning, tool calls, usage and finish reason of one model call.

    `add` returns the text that may be shown: characters are never cut, so half of a surrogate pair waits for the other.
    `size` counts characters of text, reasoning and arguments. `started`: a first token, of whatever kind, has come.
    `id_stem` makes ids for tool calls that come without one. `upstream` names the server, to which alone its companions
    go back.
    """

    __slots__ = (
        "_calls", "_companions", "_fresh_reasoning", "_is_known", "_is_plain", "_joiner", "_reason", "_resolved",
        "_tags", "_usage", "has_reason", "quirks", "size", "started", "text", "upstream",
    )  # fmt: skip

    def __init__(self, id_stem: str = "", *, upstream: str | None = None, think_tags: bool = False) -> None:
        self.text: list[str] = []
        self.size = 0
        self.started = False
        self.has_reason = False
        self.quirks: set[Quirk] = set()
        self.upstream = upstream
        self._joiner = CharacterJoiner()
        self._tags = ThinkTags() if think_tags else None
        # Whether a chunk of plain text may be taken as it is: nothing is held back.
        self._is_plain = not think_tags
        self._reason: FinishReason = "stop"
        self._is_known = True
        self._usage: Usage | None = None
        self._calls = CallAssembler(id_stem)
        self._resolved: tuple[ToolCall, ...] | None = None
        self._fresh_reasoning: list[str] = []
        self._companions = CompanionCollector()

    def add(self, chunk: dict[str, Any]) -> str:
        """The text of this chunk. Raises ModelFault, BadChunk."""
        content: str
        try:
            choice = chunk["choices"][0]
            delta = choice["delta"]
            content = delta["content"]
            # The fast path: a chunk of the first choice that brings nothing but text. Encoding it is the quickest proof
            # that no character is cut.
            if (
                content
                and self._is_plain
                and choice.get("finish_reason") is None
                and not choice.get("index")
                and not chunk.get("error")
                and (len(delta) == 1 or sum(map(bool, delta.values())) == 1 + bool(delta.get("role")))
                and content.encode()
            ):
                self.started = True
                self.size += len(content)
                self.text.append(content)
                if chunk.get("usage"):
                    self._usage = report_of(chunk) or self._usage
                return content
        except (KeyError, TypeError, IndexError, AttributeError, UnicodeEncodeError):
            pass
        return self._add_parts(parts_of(chunk))

    def _add_parts(self, parts: ChunkParts) -> str:
        self.quirks.update(parts.quirks)
        if parts.usage is not None:
            # Some servers send a running count with every chunk: the last report stands.
            self._usage = parts.usage
        if parts.text or parts.reasoning or parts.calls:
            self.started = True
        if parts.delta is not None:
            self._companions.add(parts.delta)
        self._note_reasoning(parts.reasoning)
        if parts.calls is not None:
            self.size += self._calls.add(parts.calls)
            self._resolved = None
        is_repeated = Quirk.MESSAGE_AS_DELTA in parts.quirks and parts.text == "".join(self.text)
        text = "" if is_repeated else self._add_text(parts.text)
        if parts.finish is not None:
            self._finish(parts.finish.reason or "stop", is_known=parts.finish.is_known)
            text += self.flush()
        return text

    def _finish(self, reason: FinishReason, *, is_known: bool) -> None:
        if not (self.has_reason and self._reason in _CUTTING):
            self._reason = reason
        # A server may send two reasons; one that is known says that the calls are whole.
        self._is_known = is_known or (self.has_reason and self._is_known)
        self.has_reason = True

    def _note_reasoning(self, text: str) -> None:
        if text:
            self.size += len(text)
            self._fresh_reasoning.append(text)

    def _add_text(self, content: str) -> str:
        text = self._joiner.add(content)
        if self._tags is not None and not self._tags.is_over:
            thought, text = self._tags.add(text)
            self._note_reasoning(thought)
        self._note_plainness()
        return self._put(text)

    def _note_plainness(self) -> None:
        self._is_plain = not self._joiner.half and (self._tags is None or self._tags.is_over)

    def _put(self, text: str) -> str:
        if text:
            self.size += len(text)
            self.text.append(text)
        return text

    def flush(self) -> str:
        """The stream is over. What is held back has nothing to wait for."""
        text = self._joiner.flush()
        if self._tags is not None and not self._tags.is_over:
            thought, certain = self._tags.add(text)
            rest_of_thought, rest = self._tags.flush()
            self._note_reasoning(thought + rest_of_thought)
            text = certain + rest
        self._note_plainness()
        return self._put(text)

    def take_reasoning(self) -> str:
        """The reasoning that came since the last look."""
        text = "".join(self._fresh_reasoning)
        self._fresh_reasoning.clear()
        return text

    # --- how it ended

    def cut(self) -> None:
        """The answer grew too long and is not read on."""
        self._finish("length", is_known=True)

    def end_without_reason(self) -> None:
        """The server has ended the stream by `[DONE]` alone."""
        self.quirks.add(Quirk.MISSING_REASON)
        self._finish("stop", is_known=False)

    # --- what came of it

    @property
    def tool_calls(self) -> tuple[ToolCall, ...]:
        """None where the answer was cut off or its finish reason is unknown: the arguments cannot be trusted."""
        if self._reason in _CUTTING or not self._is_known:
            return ()
        if self._resolved is None:
            self._resolved = self._calls.calls()
            self.quirks |= self._calls.quirks
        return self._resolved

    @property
    def has_withheld_calls(self) -> bool:
        """The model wrote calls, and it is not known whether they are whole."""
        return not self._is_known and bool(self._calls)

    @property
    def is_empty(self) -> bool:
        """Ended in the usual way, with nothing to show and nothing to do."""
        return self.finish_reason == "stop" and not "".join(self.text).strip() and not self.tool_calls

    @property
    def finish_reason(self) -> FinishReason:
        """Whatever the server says, an answer with tool calls waits for their results, and one without does not."""
        if self.tool_calls:
            return "tool_calls"
        return "stop" if self._reason == "tool_calls" else self._reason

    @property
    def companions(self) -> str | None:
        """The message's opaque members. They are kept beside tool calls, without which no server asks for them."""
        return companions_text(self._companions.members) if self._calls else None

    @property
    def stored_size(self) -> int:
        """The characters that the transcript gets: reasoning is among them only where calls need it."""
        calls = sum(len(call.arguments) + len(call.companions or "") for call in self.tool_calls)
        return sum(map(len, self.text)) + calls + len(self.companions or "")

    @property
    def has_companions(self) -> bool:
        return self.companions is not None or any(call.companions for call in self.tool_calls)

    @property
    def usage(self) -> Usage | None:
        """As the model reported it; None when it did not, or not credibly."""
        return self._usage
