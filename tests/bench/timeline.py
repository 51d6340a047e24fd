"""`python -m tests.bench.timeline FILE.json PICTURE.png`: draws a run of `tests.bench.autoscaling` by a Chromium."""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from playwright.sync_api import sync_playwright

from tests.programs import required_program

WIDTH, PANEL, LEFT, RIGHT, TOP, GAP = 860, 120, 56, 24, 40, 48
INK, QUIET, GRID = "#1f2933", "#5f6b7a", "#e3e7ec"
# Title, members and their colours, whether the value holds until the next moment.
PANELS: Final = (
    ("Age of the oldest waiting turn, seconds", (("oldest_s", "", "#b4451f"),), False),
    ("Turns", (("running", "running", "#1f5fb4"), ("waiting", "waiting", "#b4451f")), False),
    ("Workers", (("workers", "", "#1f5fb4"),), True),
)


def svg(moments: Sequence[dict[str, Any]]) -> str:
    """A panel each over one axis of time, since their units differ."""
    end = moments[-1]["at_s"]
    height = TOP + len(PANELS) * (PANEL + GAP)
    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" font-family="sans-serif">']
    for number, (title, lines, steps) in enumerate(PANELS):
        parts += _panel(TOP + number * (PANEL + GAP), title, lines, moments, end, steps=steps)
    bottom = height - GAP + 16
    for second in range(0, int(end) + 1, 10):
        parts.append(_text(_x(second, end), bottom, f"{second} s", anchor="middle"))
    return "".join([*parts, "</svg>"])


def _panel(
    top: float,
    title: str,
    lines: Sequence[tuple[str, str, str]],
    moments: Sequence[dict[str, Any]],
    end: float,
    *,
    steps: bool,
) -> list[str]:
    most = max(1.0, *(moment[name] for name, _, _ in lines for moment in moments))
    parts = [_text(LEFT, top - 10, title, colour=INK)]
    for part in (0.0, 0.5, 1.0):
        y = top + PANEL * (1 - part)
        parts.append(f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y}" y2="{y}" stroke="{GRID}"/>')
        parts.append(_text(LEFT - 8, y + 4, f"{most * part:.3g}", anchor="end"))
    for number, (name, label, colour) in enumerate(lines):
        points, before = list[str](), None
        for moment in moments:
            x, y = _x(moment["at_s"], end), top + PANEL * (1 - moment[name] / most)
            if steps and before is not None:
                points.append(f"{x:.1f},{before:.1f}")
            points.append(f"{x:.1f},{y:.1f}")
            before = y
        parts.append(f'<polyline points="{" ".join(points)}" fill="none" stroke="{colour}" stroke-width="2"/>')
        if label:
            parts.append(_text(LEFT + 60 + 80 * number, top - 10, label, colour=colour))
    return parts


def _x(second: float, end: float) -> float:
    return LEFT + (WIDTH - LEFT - RIGHT) * second / end


def _text(x: float, y: float, text: str, *, colour: str = QUIET, anchor: str = "start") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" font-size="13" fill="{colour}" text-anchor="{anchor}">{text}</text>'


def draw(moments: Sequence[dict[str, Any]], picture: Path) -> None:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=required_program("chromium", "chromium"), args=["--no-sandbox"]
        )
        page = browser.new_page()
        page.set_content(f'<body style="margin:0;background:#fff">{svg(moments)}</body>')
        page.locator("svg").screenshot(path=str(picture))
        browser.close()


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.timeline", description=__doc__)
    parser.add_argument("file", type=Path)
    parser.add_argument("picture", type=Path)
    given = parser.parse_args()
    draw(json.loads(given.file.read_text())["moments"], given.picture)


if __name__ == "__main__":
    main()
