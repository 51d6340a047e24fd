"""One name per thing: words that the project has replaced do not come back as names of things."""

import ast
import re
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SOURCES = [
    path for room in ("services", "shared", "deploy", "tests") for path in sorted((ROOT / room).rglob("*.py"))
    if path != Path(__file__)
]  # fmt: skip
# Today's word is in CONTRIBUTING.md. Ordinary words such as `since`, `place` and `parts` are not in this list.
OLD = re.compile(
    r"briefs?|hand(ed|s)?_back|settle[ds]?|doorbell|pulse|departures|endings|sweeps?|afresh|breathe|standing"
    r"|express|begin_attempt|begun_calls|pens?|rings?|rang|bells?"
)


def words_of(name: str) -> set[str]:
    """`TurnSweep` and `turn_sweep` → {"turn", "sweep", "turn_sweep"}."""
    snake = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()
    parts = [part for part in snake.split("_") if part]
    return {snake.strip("_"), *parts, *(f"{one}_{other}" for one, other in pairwise(parts))}


def names_in(source: ast.AST) -> Iterator[str]:
    for node in ast.walk(source):
        match node:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                if not name.startswith("test_"):
                    yield name
            case ast.Name(id=name) | ast.arg(arg=name) | ast.Attribute(attr=name):
                yield name


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_no_name_has_a_word_that_was_replaced(path: Path) -> None:
    found = {name for name in names_in(ast.parse(path.read_text())) for word in words_of(name) if OLD.fullmatch(word)}
    assert not found
