"""`make shots`: pictures of the widget, for people to look at. Needs Chromium; nothing is compared."""

import argparse
import asyncio
import tempfile
from pathlib import Path
from typing import Any, Final

from playwright.async_api import Browser, async_playwright

from tests.programs import required_program
from tests.system.browser.host_page import Site, Widget, site
from tests.system.browser.test_earlier import Backend
from tests.system.stack import Stack

DEMO: Final = "agt_000000000000000000000p1zza"
GREETING: Final = {
    "en": "Hello! Ask me about our menu, delivery or your order.",
    "ar": "مرحبًا! اسألني عن قائمتنا أو التوصيل أو طلبك.",
}
SUGGESTIONS: Final = {
    "en": ["Do you deliver to 80202?", "What are your hours?", "Where is order 1042?"],
    "ar": ["Do you deliver to 80202?", "What are your hours?"],
}
SHOTS: Final[dict[str, dict[str, Any]]] = {
    "desktop": {"size": (1100, 760)},
    "mobile": {"size": (390, 780)},
    "dark": {"size": (1100, 760), "mode": "dark"},
    "arabic": {"size": (1100, 760), "lang": "ar", "accent": "#0f766e"},
    "start": {"size": (1100, 760), "asked": False, "accent": "#f59e0b"},
    "earlier": {"size": (390, 780), "earlier": True},
    "earlier-arabic": {"size": (390, 780), "earlier": True, "lang": "ar", "accent": "#0f766e", "mode": "dark"},
    # The README's. Copy it to deploy/site/widget.png when it shows what the present one does not.
    "readme": {"size": (440, 600), "scale": 1},
}


async def take(
    browser: Browser,
    stack: Stack,
    path: Path,
    *,
    size: tuple[int, int],
    mode: str = "light",
    lang: str = "en",
    accent: str = "#1a56db",
    asked: bool = True,
    earlier: bool = False,
    scale: int = 2,
) -> None:
    context = await browser.new_context(viewport={"width": size[0], "height": size[1]}, device_scale_factor=scale)
    theme = {"mode": mode, "accent": accent}
    async with site(stack, DEMO, lang=lang, theme=theme, greeting=GREETING, suggestions=SUGGESTIONS) as shop:
        widget = await shop.open(context)
        await widget.page.locator("parley-widget button").click()
        await widget.frame.get_by_role("textbox").wait_for()
        if earlier:
            await _list(shop, widget)
        elif asked:
            await widget.send("Do you deliver to 80202?")
            await widget.finished_answers(1)
            await widget.send("Where is order 1042?")
            await widget.finished_answers(2)
        await widget.page.screenshot(path=path)
    await context.close()


async def _list(shop: Site, widget: Widget) -> None:
    """Two conversations of a known visitor, listed."""
    await (await Backend.of(shop)).identify(widget, "ada")
    for question in ("Do you deliver to 80202?", "Where is order 1042?"):
        await widget.send(question)
        await widget.finished_answers(1)
        await widget.frame.locator(".menu > button").click()
        await widget.frame.get_by_role("menuitem").first.click()
    await widget.frame.locator(".menu > button").click()
    await widget.frame.get_by_role("menuitem").nth(1).click()
    await widget.frame.get_by_role("listitem").nth(1).wait_for()


async def main(folder: Path) -> None:
    program = required_program("chromium", "chromium")
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="parley-shots-") as directory:
        stack = await asyncio.to_thread(Stack.start, Path(directory), "--workers", "1")
        try:
            async with async_playwright() as driver:
                browser = await driver.chromium.launch(executable_path=program, args=["--no-sandbox"])
                for name, how in SHOTS.items():
                    await take(browser, stack, folder / f"widget-{name}.png", **how)
                    print(folder / f"widget-{name}.png", flush=True)
                await browser.close()
        finally:
            await asyncio.to_thread(stack.stop)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="make shots", description=__doc__)
    parser.add_argument("--folder", type=Path, default=Path(".parley/shots"))
    asyncio.run(main(parser.parse_args().folder))
