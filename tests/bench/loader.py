"""What the widget's loader costs a page: its time on the main thread until the launcher is there, and layout shift.

From Chromium's own trace. The page has no other script, so all microtasks are the loader's.
"""

import asyncio
import statistics
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import orjson
from playwright.async_api import Browser, async_playwright

from tests.bench.rig import Rig
from tests.bench.scenarios import Effort, Row, model_name
from tests.programs import required_program
from tests.system.browser.host_page import Site, site

LOADS: Final = 10
# After the settings have come, for what the loader does with them.
REST_S: Final = 0.3
_CATEGORIES: Final = ["devtools.timeline", "v8", "v8.execute", "loading"]
_SCRIPT: Final = frozenset({"EvaluateScript", "v8.compile", "FunctionCall", "RunMicrotasks"})
Event = dict[str, Any]


@dataclass
class _Running:
    """As much of a stack as a page needs."""

    facts: dict[str, Any]


async def loader(rig: Rig, effort: Effort) -> list[Row]:
    program = required_program("chromium", "chromium")
    address = rig.gateway
    running = _Running({"baseUrl": f"http://{address.host}:{address.port}/api/v1", "secretKey": rig.key})
    async with async_playwright() as driver, site(running, await rig.agent(model_name(8, 0, 0))) as shop:
        browser = await driver.chromium.launch(executable_path=program, args=["--no-sandbox"])
        loads = [await _load(browser, shop) for _ in range(LOADS * effort.rounds)]
        await browser.close()
    return [
        {
            "scenario": f"the widget's loader on an empty page, {len(loads)} loads without a cache",
            "target": "loader",
            "main thread, CPU ms": statistics.median(each["cpu"] for each in loads),
            "main thread, ms": statistics.median(each["wall"] for each in loads),
            "longest piece, ms": statistics.median(each["longest"] for each in loads),
            "most layout shift": max(each["shift"] for each in loads),
        }
    ]


async def _load(browser: Browser, shop: Site) -> dict[str, float]:
    context = await browser.new_context()
    page = await context.new_page()
    await browser.start_tracing(page=page, categories=_CATEGORIES)
    async with page.expect_response("**/chat/widget/config"):
        await page.goto(shop.origin)
    await asyncio.sleep(REST_S)
    events: list[Event] = orjson.loads(await browser.stop_tracing())["traceEvents"]
    await context.close()
    pieces = list(_outermost(_on_the_pages_thread(events)))
    shifts = [event["args"]["data"]["score"] for event in events if event["name"] == "LayoutShift"]
    return {
        "cpu": sum(piece["tdur"] for piece in pieces) / 1000,
        "wall": sum(piece["dur"] for piece in pieces) / 1000,
        "longest": max(piece["dur"] for piece in pieces) / 1000,
        "shift": sum(shifts),
    }


def _on_the_pages_thread(events: list[Event]) -> list[Event]:
    runs = (each for each in events if each["name"] == "EvaluateScript" and "loader" in each["args"]["data"]["url"])
    thread = next((each["pid"], each["tid"]) for each in runs)
    found = [each for each in events if each["name"] in _SCRIPT and (each["pid"], each["tid"]) == thread]
    return sorted((each for each in found if "tdur" in each), key=lambda each: each["ts"])


def _outermost(events: list[Event]) -> Iterator[Event]:
    """Compiling and functions lie inside of the script's evaluation."""
    end = 0
    for event in events:
        if event["ts"] >= end:
            yield event
            end = event["ts"] + event["dur"]
