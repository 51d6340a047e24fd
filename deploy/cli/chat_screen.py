"""A turn on a terminal. What is void (`restarted`) is wiped; what stays at the end is what the server stored."""

import os
import sys
from collections.abc import Callable
from typing import Any, Final, Protocol, TextIO

from rich.cells import cell_len

from deploy.cli.output import harmless
from deploy.cli.sse import Frame

MAX_DETAIL: Final = 200
_DIM: Final = "\x1b[2m{}\x1b[0m"
RESTARTED: Final = "── the answer so far is void and starts again ──"


class Screen(Protocol):
    def show(self, frame: Frame) -> None: ...


class TurnScreen:
    """`size` gives columns and rows."""

    def __init__(self, out: TextIO = sys.stdout, size: Callable[[], tuple[int, int]] | None = None) -> None:
        self._out = out
        self._size = size or (lambda: tuple(os.get_terminal_size(out.fileno())))  # type: ignore[return-value]
        self._first_size = self._size()
        self._written = ""  # plain, since the turn's first line
        self._text = ""
        self._disturbed = False

    def disturb(self) -> None:
        """Something else was written in between, so the rows above cannot be counted any more."""
        self._disturbed = True

    def show(self, frame: Frame) -> None:
        match frame.event:
            case "delta":
                self._say(str(frame.data["text"]))
            case "kb_retrieval":
                self._detail(retrieval(frame.data))
            case "tool_call":
                self._detail(f"→ {frame.data['name']} {frame.data['arguments']}")
            case "tool_result":
                self._detail(f"← {frame.data['name']}: {frame.data['status']}, {frame.data['durationMs']} ms")
            case "guardrail":
                self._detail(f"guardrail {frame.data.get('name')}: {frame.data.get('action')}")
            case "restarted":
                self._wipe()
            case "done":
                self._finish(frame.data)
            case "error":
                self._end_line()
                self._detail(f"failed: {frame.data.get('detail')} ({frame.data.get('code')})")

    def _say(self, text: str) -> None:
        self._text += text
        self._write(harmless(text))

    def _detail(self, text: str) -> None:
        """One dim line of its own."""
        line = " ".join(harmless(text).split())
        line = line if len(line) <= MAX_DETAIL else line[:MAX_DETAIL] + "…"
        self._end_line()
        self._write(f"  {line}\n", _DIM.format(f"  {line}") + "\n")

    def _finish(self, data: dict[str, Any]) -> None:
        """What was shown is replaced where the stored answer differs, as after a cancellation in mid-word."""
        stored = stored_text(data)
        if stored != self._text:
            self._wipe()
            self._say(stored)
        self._end_line()
        for line in cited(data):
            self._detail(line)
        if data.get("status") == "cancelled":
            self._detail("cancelled")
        elif data.get("finishReason") not in ("stop", None):
            self._detail(f"ended: {data['finishReason']}")

    def _wipe(self) -> None:
        columns, height = self._size()
        up = rows_of(self._written, columns) - 1
        if self._written:
            if self._disturbed or (columns, height) != self._first_size or up >= height:
                self._end_line()
                self._write(RESTARTED + "\n")
            else:
                self._out.write((f"\x1b[{up}A" if up else "") + "\r\x1b[J")
                self._out.flush()
        self._written = self._text = ""
        self._first_size, self._disturbed = (columns, height), False

    def _end_line(self) -> None:
        if self._written and not self._written.endswith("\n"):
            self._write("\n")

    def _write(self, plain: str, styled: str | None = None) -> None:
        self._written += plain
        self._out.write(styled or plain)
        self._out.flush()


class PlainScreen:
    """For a file or a pipe, where nothing can be taken back: the stored answer, once it is final."""

    def __init__(self, out: TextIO = sys.stdout) -> None:
        self._out = out

    def show(self, frame: Frame) -> None:
        if frame.event == "done":
            self._out.write(stored_text(frame.data) + "\n")
            self._out.flush()
        elif frame.event == "error":
            sys.stderr.write(f"parley: failed: {frame.data.get('detail')} ({frame.data.get('code')})\n")


def stored_text(done: dict[str, Any]) -> str:
    messages = done.get("messages") or ()
    return "".join(message.get("content") or "" for message in messages if message["role"] == "assistant")


def cited(done: dict[str, Any]) -> list[str]:
    """What the markers of the answer stand for, each once: `[1] title, url`."""
    lines = []
    for message in done.get("messages") or ():
        for citation in message.get("citations") or ():
            passage = citation["passage"]
            page = f"page {passage['page']}" if passage.get("page") else None
            parts = (passage.get("title"), passage.get("heading"), page, passage.get("url"))
            lines.append(f"[{citation['marker']}] " + ", ".join(str(part) for part in parts if part))
    return list(dict.fromkeys(lines))


def retrieval(data: dict[str, Any]) -> str:
    titles = "; ".join(str(passage.get("title")) for passage in data.get("passages", ()))
    return f"searched “{data.get('query')}”: {titles or 'nothing found'}"


def rows_of(text: str, columns: int) -> int:
    """How many rows of a terminal the text takes, the row of the cursor included. It wraps as terminals do: late."""
    rows = 1
    used = 0
    for character in text:
        if character == "\n":
            rows, used = rows + 1, 0
            continue
        width = 8 - used % 8 if character == "\t" else cell_len(character)
        if character == "\t":
            used = min(used + width, columns - 1)  # a tab never wraps
        elif used + width > columns:
            rows, used = rows + 1, width
        else:
            used += width
    return rows
