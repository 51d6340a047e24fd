"""A generated page's head and its tables."""

from collections.abc import Iterable, Sequence


def page(title: str, source: str, *parts: str) -> str:
    notice = f"<!-- Generated from {source} by `make reference`. Do not edit. -->"
    return "\n\n".join([notice, f"# {title}", *parts]) + "\n"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)
