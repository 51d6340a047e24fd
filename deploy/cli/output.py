"""What `parley` writes: tables for people, JSON for programs, a progress bar for what takes longer than a second."""

import asyncio
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final

import click
import orjson
from rich.cells import cell_len
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

QUIET_S: Final = 1.0
# Control characters of a stranger's text could move the cursor or rename the window.
_CONTROLS: Final = {code: None for code in (*range(0x20), *range(0x7F, 0xA0)) if chr(code) not in "\t\n"}


def harmless(text: str) -> str:
    return text.translate(_CONTROLS)


class Output:
    """`as_json`: one JSON value on standard output and nothing else there."""

    def __init__(self, *, as_json: bool) -> None:
        self.as_json = as_json
        self.console = Console(highlight=False, soft_wrap=True)
        self.aside = Console(stderr=True, highlight=False, soft_wrap=True)
        self._bar_is_open = False

    def value(self, value: Any) -> None:
        click.echo(orjson.dumps(value, option=orjson.OPT_INDENT_2).decode())

    def say(self, text: str) -> None:
        """For people only."""
        if not self.as_json:
            self.console.print(escape(harmless(text)))

    def note(self, text: str) -> None:
        """On standard error, also beside JSON."""
        self.aside.print(escape(harmless(text)))

    def table(self, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
        """Columns as wide as their widest cell. A line that is longer than the terminal wraps there."""
        shown = [[harmless("" if cell is None else str(cell)) for cell in row] for row in (columns, *rows)]
        widths = [max(map(cell_len, column)) for column in zip(*shown, strict=True)]
        for number, row in enumerate(shown):
            line = "  ".join(cell + " " * (width - cell_len(cell)) for cell, width in zip(row, widths, strict=True))
            if line.strip():
                self.console.print(escape(line.rstrip()), style="bold" if number == 0 else None)

    def changes(self, lines: Iterable[str], *, aside: bool = False) -> None:
        """Lines of a difference, with the colours of their signs."""
        console = self.aside if aside or self.as_json else self.console
        styles = {"+": "green", "-": "red", "~": "yellow"}
        for line in lines:
            console.print(escape(harmless(line)), style=styles.get(line.lstrip()[:1]))

    @asynccontextmanager
    async def progress(self, description: str, total: int | None = None) -> AsyncIterator["Bar"]:
        """A bar on standard error, shown only on a terminal and after a second. Of two that overlap, the outer one."""
        columns = (TextColumn("{task.description}"), BarColumn(), *((MofNCompleteColumn(),) if total else ()))
        shown = Progress(*columns, TimeElapsedColumn(), console=self.aside, transient=True)
        bar = Bar(shown, escape(harmless(description)), total)
        if self._bar_is_open or not self.aside.is_terminal:
            yield bar
            return
        self._bar_is_open = True
        starting = asyncio.create_task(_start_later(shown))
        try:
            yield bar
        finally:
            self._bar_is_open = False
            starting.cancel()
            await asyncio.gather(starting, return_exceptions=True)
            shown.stop()


class Bar:
    def __init__(self, progress: Progress, description: str, total: int | None) -> None:
        self._progress = progress
        self._task = progress.add_task(description, total=total)

    def advance(self, steps: int = 1) -> None:
        self._progress.advance(self._task, steps)


async def _start_later(progress: Progress) -> None:
    await asyncio.sleep(QUIET_S)
    progress.start()
