"""How far the reading of a source is: the child process writes it into a file, and its parent looks there."""

from contextlib import suppress
from pathlib import Path
from typing import Final

FILE: Final = "progress"


def report(directory: Path, pages: int, passages: int) -> None:
    """By the child. A reader may meet half of it, and then keeps what it knew."""
    with suppress(OSError):
        (directory / FILE).write_text(f"{pages} {passages} .")


class ReadingProgress:
    """Of one source. `directory` is that of the child process."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._pages = 0
        self._passages = 0
        self._is_storing = False

    def stored(self, pages: int, passages: int) -> None:
        """The child has ended; so many passages are in the store."""
        self._is_storing, self._pages, self._passages = True, pages, passages

    def now(self) -> tuple[int, int]:
        if not self._is_storing:
            with suppress(OSError, ValueError):
                pages, passages, end = (self._directory / FILE).read_text().split()
                if end == ".":
                    self._pages, self._passages = int(pages), int(passages)
        return self._pages, self._passages
