"""What a person sees: a small terminal that understands what `parley` and rich write."""

import re

from rich.cells import cell_len

_SEQUENCE = re.compile(r"\x1b\[([?0-9;]*)([A-Za-z])")


class Screen:
    """Lines as they stand, those that scrolled away included. The cursor never goes up past the visible ones."""

    def __init__(self, columns: int, rows: int) -> None:
        self._columns = columns
        self._height = rows
        self._lines: list[list[str]] = [[]]
        self._row = self._column = 0
        self._rest = ""

    @property
    def text(self) -> str:
        """With rows that were wrapped joined again."""
        joined = ""
        for line in self._lines:
            row = "".join(line)
            joined += row if cell_len(row) >= self._columns else row.rstrip() + "\n"
        return joined

    def feed(self, text: str) -> None:
        text, self._rest = self._rest + text, ""
        position = 0
        while position < len(text):
            if text[position] == "\x1b":
                found = _SEQUENCE.match(text, position)
                if found is None:
                    self._rest = text[position:]
                    return
                self._control(found[1], found[2])
                position = found.end()
                continue
            self._put(text[position])
            position += 1

    def _control(self, numbers: str, letter: str) -> None:
        count = int(numbers) if numbers.isdecimal() else 1
        match letter:
            case "A":
                self._row = max(self._row - count, len(self._lines) - self._height, 0)
            case "B":
                self._row = min(self._row + count, len(self._lines) - 1)
            case "J":
                del self._lines[self._row + 1 :]
                self._cut()
            case "K":
                self._lines[self._row] = [] if numbers == "2" else self._lines[self._row][: self._column]
            case "m" | "h" | "l":
                pass
            case _:
                raise AssertionError(f"the screen does not know \\x1b[{numbers}{letter}")

    def _cut(self) -> None:
        del self._lines[self._row][self._column :]

    def _put(self, character: str) -> None:
        if character == "\r":
            self._column = 0
        elif character == "\n":
            self._down()
        elif character == "\b":
            self._column = max(self._column - 1, 0)
        elif character >= " ":
            self._print(character)

    def _print(self, character: str) -> None:
        line = self._lines[self._row]
        if cell_len("".join(line[: self._column]) + character) > self._columns:
            self._column = 0
            self._down()
            line = self._lines[self._row]
        line += [" "] * (self._column - len(line))
        line[self._column : self._column + 1] = [character]
        self._column += 1

    def _down(self) -> None:
        self._row += 1
        if self._row == len(self._lines):
            self._lines.append([])
