"""The widget for everyone: axe's rules, the keyboard alone, and a page that does not move."""

import re

import pytest
from playwright.async_api import BrowserContext

from tests.conftest import eventually
from tests.system.browser.host_page import site
from tests.system.browser.violations import violations
from tests.system.stack import Stack

DEMO = "agt_000000000000000000000p1zza"


@pytest.mark.parametrize("mode", ["light", "dark"])
@pytest.mark.parametrize("lang", ["en", "ar"])
async def test_axe_finds_nothing(stack: Stack, context: BrowserContext, axe: str, mode: str, lang: str) -> None:
    async with site(
        stack,
        DEMO,
        lang=lang,
        theme={"mode": mode},
        suggestions={"en": ["Do you deliver to 80202?"]},
        greeting={"en": "Hello!"},
    ) as shop:
        widget = await (await shop.open(context)).show()
        frame = next(frame for frame in widget.page.frames if "/widget/frame/" in frame.url)
        assert await violations(frame, axe) == []
        await widget.send("Do you deliver to 80202?")
        await widget.finished_answers(1)
        await widget.frame.locator(".menu > button").click()
        assert await violations(frame, axe) == []
        assert await violations(widget.page.main_frame, axe) == []
        assert await frame.evaluate("document.documentElement.dir") == ("rtl" if lang == "ar" else "ltr")


async def test_a_whole_conversation_by_keyboard(stack: Stack, context: BrowserContext) -> None:
    async with site(stack, DEMO) as shop:
        widget = await shop.open(context)
        keyboard = widget.page.keyboard
        await widget.page.get_by_role("button", name="Chat").wait_for()
        await keyboard.press("Tab")
        await keyboard.press("Enter")
        await widget.frame.get_by_role("textbox").wait_for()
        # The text field has the focus once the window is open.
        await widget.frame.locator("textarea:focus").wait_for()
        await keyboard.type("Do you deliver to 80202?")
        await keyboard.press("Enter")
        await widget.finished_answers(1)
        await widget.frame.locator("textarea:focus").wait_for()
        await keyboard.press("Escape")
        await widget.page.locator("parley-widget button:focus").wait_for()
        assert not await widget.frame.get_by_role("textbox").is_visible()


TOLD = """window.told = []; new MutationObserver(() => {
    const text = document.querySelector('[aria-live=polite]')?.textContent;
    if (text && text !== told.at(-1)) told.push(text);
}).observe(document, {subtree: true, childList: true, characterData: true});"""


async def test_a_screen_reader_is_told_the_answer_once_sentence_by_sentence(
    stack: Stack, context: BrowserContext
) -> None:
    await context.add_init_script(TOLD)
    async with site(stack, DEMO) as shop:
        widget = await (await shop.open(context)).show()
        await widget.send("Do you deliver to 80202?")
        await widget.finished_answers(1)
        frame = next(frame for frame in widget.page.frames if "/widget/frame/" in frame.url)
        written = re.sub(r"[*_`#>|]|\[\d+\]", "", (await shop.answers())[0]).split()

        async def is_told() -> bool:
            return " ".join(await frame.evaluate("window.told")).split() == written

        await eventually(is_told, what="the whole answer, once")


async def test_the_page_does_not_move_when_the_widget_comes(stack: Stack, context: BrowserContext) -> None:
    watch = """new PerformanceObserver((list) => {
        for (const entry of list.getEntries()) window.shift = (window.shift ?? 0) + entry.value;
    }).observe({type: 'layout-shift', buffered: true}); window.shift = 0;"""
    await context.add_init_script(watch)
    async with site(stack, DEMO) as shop:
        widget = await (await shop.open(context)).show()
        await widget.send("What are your hours?")
        await widget.finished_answers(1)
        assert await widget.page.evaluate("window.shift") == 0
