"""The widget in a real browser, on a page of another origin."""

import os
import signal
from typing import Any

import pytest
from playwright.async_api import Browser, BrowserContext

from tests.conftest import eventually
from tests.system.browser.host_page import OTHER_SITE, SAME_SITE, Widget, site
from tests.system.stack import Stack

DEMO = "agt_000000000000000000000p1zza"
LONG = "scripted/tokens=120,delay=25"


async def test_a_visitor_asks_and_reads_a_cited_answer(stack: Stack, context: BrowserContext) -> None:
    async with site(stack, DEMO, suggestions={"en": ["Do you deliver to 80202?"]}) as shop:
        widget = await (await shop.open(context)).show()
        await widget.frame.get_by_role("button", name="Do you deliver to 80202?").click()
        answers = await widget.finished_answers(1)
        assert "80202" in answers[0]
        assert await widget.frame.locator(".chip").count() > 0
        assert await widget.frame.get_by_label("Sources").locator("li").count() > 0
        await widget.frame.get_by_role("button", name="Good answer").click()

        async def is_stored() -> bool:
            feedback = await shop.api("GET", f"/chat/feedback?agentId={DEMO}")
            return bool(feedback) and feedback[0]["rating"] == "up"

        await eventually(is_stored, what="the stored feedback")


async def shown(widget: Widget) -> str:
    """The newest answer's text, without the buttons below it."""
    return (await widget.frame.locator("article > p").last.inner_text()).strip()


async def test_a_reload_in_mid_answer_brings_the_rest_once(stack: Stack, context: BrowserContext) -> None:
    async with site(stack, await stack.publish(LONG)) as shop:
        widget = await (await shop.open(context)).show()
        await widget.send("Tell me everything.")
        await widget.frame.locator("article[aria-busy=true] > p:not(.thinking)").wait_for()
        await widget.page.reload()
        await widget.finished_answers(1)
        assert await widget.frame.locator(".question").count() == 1
        assert await shown(widget) == (await shop.answers())[0].strip()


async def test_the_death_of_a_gateway_in_mid_answer_loses_nothing(stack: Stack, context: BrowserContext) -> None:
    async with site(stack, await stack.publish(LONG)) as shop:
        widget = await (await shop.open(context)).show()
        await widget.send("Tell me everything.")
        await widget.frame.locator("article[aria-busy=true] > p:not(.thinking)").wait_for()
        # Whichever holds the stream is among them; the stack starts both again.
        for pid in stack.facts["pids"]["gateway"]:
            os.kill(pid, signal.SIGKILL)
        await widget.finished_answers(1)
        assert await shown(widget) == (await shop.answers())[0].strip()


@pytest.mark.parametrize("address", [OTHER_SITE, SAME_SITE])
async def test_two_tabs_show_the_same_conversation(stack: Stack, context: BrowserContext, address: str) -> None:
    async with site(stack, await stack.publish("scripted/tokens=50,delay=25"), address=address) as shop:
        first = await (await shop.open(context)).show()
        await first.send("The first question.")
        await first.finished_answers(1)
        second = await shop.open(context)
        await second.finished_answers(1)
        await second.send("The second question.")
        await second.finished_answers(2)
        await first.finished_answers(2)
        assert await shown(first) == await shown(second) == (await shop.answers())[1].strip()
        assert await shop.questions() == ["The first question.", "The second question."]


async def test_a_message_written_offline_is_sent_once(stack: Stack, context: BrowserContext) -> None:
    async with site(stack, await stack.publish("scripted/tokens=8")) as shop:
        widget = await (await shop.open(context)).show()
        await widget.send("Online.")
        await widget.finished_answers(1)
        await context.set_offline(True)
        await widget.send("Offline.")
        await widget.frame.get_by_text("You are offline.").wait_for()
        await widget.frame.get_by_text("Not sent yet").wait_for()
        await context.set_offline(False)
        await widget.finished_answers(2)
        assert await shop.questions() == ["Online.", "Offline."]


async def test_a_page_of_another_origin_gets_no_widget_and_its_owner_a_line(
    stack: Stack, context: BrowserContext
) -> None:
    async with site(stack, await stack.publish("scripted/tokens=8")) as shop:
        change: dict[str, Any] = {"allowedOrigins": ["https://another.example"]}
        await shop.api("PATCH", f"/agents/{shop.agent_id}/publishable-keys/{shop.key_id}", change)
        lines: list[str] = []
        context.on("console", lambda message: lines.append(message.text))
        widget = await shop.open(context)

        async def is_told() -> bool:
            return any("origin_not_allowed" in line and shop.origin in line for line in lines)

        await eventually(is_told, what="a line in the console")
        assert await widget.page.locator("parley-widget").count() == 0


NOTICES = """new MutationObserver(() => {
    for (const each of document.querySelectorAll('.notice')) (window.notices ??= []).push(each.textContent);
}).observe(document, {subtree: true, childList: true, characterData: true});"""


@pytest.mark.parametrize("native", [True, pytest.param(False, marks=pytest.mark.long)])
async def test_a_visitor_under_a_flood_gets_through_and_reads_why_it_takes_longer(
    stack: Stack, context: BrowserContext, native: bool
) -> None:
    await context.add_init_script(NOTICES)
    if not native:
        # As on a page without TLS.
        await context.add_init_script("delete Crypto.prototype.subtle")
    async with site(stack, await stack.publish("scripted/tokens=8"), challenge="always") as shop:
        widget = await (await shop.open(context)).show()
        lines: list[str] = []
        context.on("console", lambda message: lines.append(message.text))
        await widget.send("Hello.")
        await widget.finished_answers(1)
        frame = next(frame for frame in widget.page.frames if "/widget/frame/" in frame.url)
        assert await frame.evaluate("'subtle' in crypto") is native
        assert "Checking that you are not a robot." in " ".join(await frame.evaluate("window.notices"))
        assert await shop.questions() == ["Hello."]
        assert not [line for line in lines if line.startswith("Parley")]


async def test_a_used_up_budget_of_the_key_is_told_and_the_message_can_be_sent_later(
    stack: Stack, context: BrowserContext
) -> None:
    async with site(stack, await stack.publish("scripted/tokens=8")) as shop:
        key = f"/agents/{shop.agent_id}/publishable-keys/{shop.key_id}"
        await shop.api("PATCH", key, {"dailyTokens": 1})
        widget = await (await shop.open(context)).show()
        await widget.send("The first.")
        await widget.finished_answers(1)
        await widget.send("The second.")
        told = widget.frame.get_by_text("The chat has answered all it can for today.")
        await told.wait_for()
        assert await shop.questions() == ["The first."]
        await shop.api("PATCH", key, {"dailyTokens": None})

        async def is_answered() -> bool:
            # Admission learns of the change within seconds.
            again = widget.frame.get_by_role("button", name="Try again")
            if await again.count():
                await again.click()
            return await widget.frame.locator("article[aria-busy=false]").count() == 2

        await eventually(is_answered, within_s=20, what="an answer to the second message")
        assert await shop.questions() == ["The first.", "The second."]


async def test_consent_holds_back_the_first_message(stack: Stack, context: BrowserContext) -> None:
    async with site(stack, await stack.publish("scripted/tokens=8"), consent={"en": "We store this chat."}) as shop:
        widget = await shop.open(context)
        await widget.page.get_by_role("button", name="Chat").click()
        await widget.frame.get_by_text("We store this chat.").wait_for()
        assert await widget.frame.get_by_role("textbox").count() == 0
        await widget.frame.get_by_role("button", name="Agree and start").click()
        await widget.send("Hello.")
        await widget.finished_answers(1)


async def test_stop_ends_the_answer_and_keeps_what_was_said(stack: Stack, context: BrowserContext) -> None:
    async with site(stack, await stack.publish("scripted/tokens=400,delay=25")) as shop:
        widget = await (await shop.open(context)).show()
        await widget.send("Tell me everything.")
        await widget.frame.locator("article[aria-busy=true] > p:not(.thinking)").wait_for()
        await widget.frame.get_by_role("button", name="Stop the answer").click()
        await widget.finished_answers(1)
        await widget.frame.get_by_text("Stopped.").wait_for()


async def test_the_page_drives_the_widget_from_its_own_script(stack: Stack, context: BrowserContext) -> None:
    async with site(stack, await stack.publish("scripted/tokens=8")) as shop:
        widget = await shop.open(context)
        await widget.page.get_by_role("button", name="Chat").wait_for()
        await widget.page.evaluate("Parley('on', 'open', () => { window.opened = true })")
        await widget.page.evaluate("Parley('send', 'Hello from the page.')")
        await widget.finished_answers(1)
        assert await widget.page.evaluate("window.opened") is True
        # Frameworks replace the body when they navigate within a page.
        await widget.page.evaluate("document.body = document.createElement('body')")
        await widget.finished_answers(1)
        await widget.page.evaluate("Parley('destroy')")
        assert await widget.page.locator("parley-widget").count() == 0


async def test_without_storage_the_chat_works_and_says_what_it_cannot(stack: Stack, context: BrowserContext) -> None:
    denied = "Object.defineProperty(window, 'localStorage', {get() { throw new DOMException('denied') }})"
    await context.add_init_script(denied)
    async with site(stack, await stack.publish("scripted/tokens=8")) as shop:
        widget = await (await shop.open(context)).show()
        await widget.frame.get_by_text("Your browser blocks storage.").wait_for()
        await widget.send("Hello.")
        await widget.finished_answers(1)


async def test_a_paste_that_is_too_long_is_not_sent(stack: Stack, context: BrowserContext) -> None:
    async with site(stack, await stack.publish("scripted/tokens=8")) as shop:
        widget = await (await shop.open(context)).show()
        await widget.frame.get_by_role("textbox").fill("x" * 1_000_000)
        await widget.frame.get_by_role("alert").wait_for()
        assert await widget.frame.get_by_role("button", name="Send").is_disabled()


async def test_a_wrong_clock_changes_nothing(stack: Stack, context: BrowserContext) -> None:
    async with site(stack, await stack.publish("scripted/tokens=8")) as shop:
        for days in (-1, 1):
            page = await context.new_page()
            shift = f"const now = Date.now; Date.now = () => now() + {days} * 86400000;"
            await page.add_init_script(shift)
            await page.goto(shop.origin)
            widget = Widget(page)
            # The second page finds the window open, as the first one left it.
            await (widget.show() if days == -1 else widget.finished_answers(1))
            await widget.send("Hello.")
            await widget.finished_answers(1 if days == -1 else 2)
            await page.close()


async def test_a_key_that_is_revoked_in_mid_conversation_closes_the_chat(stack: Stack, context: BrowserContext) -> None:
    async with site(stack, await stack.publish("scripted/tokens=8")) as shop:
        widget = await (await shop.open(context)).show()
        await widget.send("Hello.")
        await widget.finished_answers(1)
        await shop.api("DELETE", f"/agents/{shop.agent_id}/publishable-keys/{shop.key_id}")
        await widget.send("Still there?")
        await widget.frame.get_by_text("The chat is not available at the moment.").first.wait_for()


async def test_on_a_phone_the_window_fills_the_screen_and_shrinks_for_the_keyboard(
    stack: Stack, browser: Browser
) -> None:
    context = await browser.new_context(locale="en-GB", viewport={"width": 320, "height": 640}, has_touch=True)
    async with site(stack, await stack.publish("scripted/tokens=8")) as shop:
        widget = await (await shop.open(context)).show()
        box = widget.page.locator("parley-widget iframe")
        await widget.send("Hello.")
        await widget.finished_answers(1)
        assert await box.bounding_box() == {"x": 0, "y": 0, "width": 320, "height": 640}
        # What a keyboard does to the visual viewport.
        await widget.page.evaluate(
            "Object.defineProperty(visualViewport, 'height', {get: () => 300}); visualViewport.onresize()"
        )
        shrunk = await box.bounding_box()
        assert shrunk is not None
        assert shrunk["height"] == 300
        # Nothing is wider than the screen.
        frame = next(frame for frame in widget.page.frames if "/widget/frame/" in frame.url)
        assert await frame.evaluate("document.documentElement.scrollWidth <= innerWidth")
    await context.close()
