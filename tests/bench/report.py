"""One table for people and the same figures as JSON."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import orjson

from tests.bench.scenarios import SERVICES, Row

_KEYS: Final = ("scenario", "target", "rounds")
_CPU: Final = ("gateway + worker", *SERVICES)


def render(rows: Sequence[Row]) -> str:
    """CPU in seconds per 1,000 tokens; what only some scenarios know follows under their rows."""
    lines, title = [], ""
    for row in rows:
        if row["scenario"] != title:
            title = row["scenario"]
            lines += ["", title]
        cpu = "  ".join(f"{name} {row[name]:.3f}" for name in _CPU if name in row)
        rest = "  ".join(
            f"{name} {_number(value)}" for name, value in row.items() if name not in _KEYS and name not in _CPU
        )
        lines.append(f"  {row['target']:<8} {rest}")
        if cpu:
            lines.append(f"  {'':<8} CPU s/1,000 tokens: {cpu}")
    return "\n".join(lines)


def _number(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.2f}" if abs(value) < 100 else f"{value:,.0f}"
    return str(value)


def write_json(path: Path, facts: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(orjson.dumps(facts, option=orjson.OPT_INDENT_2))
