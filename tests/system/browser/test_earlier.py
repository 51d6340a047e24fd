"""Visitors whom the site has identified, in a real browser: their earlier conversations, and other people's."""

from datetime import UTC, datetime, timedelta

import jwt
from playwright.async_api import Browser, BrowserContext, expect

from tests.system.browser.host_page import Site, Widget, site
from tests.system.browser.violations import violations
from tests.system.stack import Stack


class Backend:
    """The site's own server, which knows who its visitors are."""

    def __init__(self, secret: str) -> None:
        self._secret = secret

    @classmethod
    async def of(cls, shop: Site) -> "Backend":
        made = await shop.api("POST", f"/agents/{shop.agent_id}/widget/identity-secrets")
        return cls(made["secret"])

    def identity(self, subject: str) -> str:
        soon = datetime.now(UTC) + timedelta(minutes=10)
        return jwt.encode({"sub": subject, "exp": soon}, self._secret, "HS256")

    async def identify(self, widget: Widget, subject: str) -> None:
        await widget.page.evaluate("(token) => Parley('identify', token)", self.identity(subject))


async def entry(widget: Widget, name: str) -> None:
    await widget.frame.get_by_role("button", name="More").click()
    await widget.frame.get_by_role("menuitem", name=name).click()


async def begun(shop: Site, backend: Backend, context: BrowserContext, *questions: str) -> Widget:
    """A visitor called Ada asked each question in a conversation of its own."""
    widget = await (await shop.open(context)).show()
    await backend.identify(widget, "ada")
    for at, question in enumerate(questions):
        if at:
            await entry(widget, "New conversation")
        await widget.send(question)
        await widget.finished_answers(1)
    return widget


async def test_a_visitor_reads_and_continues_an_earlier_conversation_on_another_device(
    stack: Stack, context: BrowserContext, browser: Browser, axe: str
) -> None:
    async with site(stack, await stack.publish("scripted/tokens=8")) as shop:
        backend = await Backend.of(shop)
        first = await begun(shop, backend, context, "The first matter.", "The second matter.")
        phone = await browser.new_context(locale="en-GB", viewport={"width": 390, "height": 780}, has_touch=True)
        phone.set_default_timeout(20_000)
        widget = await (await shop.open(phone)).show()
        assert await widget.frame.get_by_role("menuitem", name="Earlier conversations").count() == 0
        await backend.identify(widget, "ada")
        await entry(widget, "Earlier conversations")
        listed = widget.frame.get_by_role("listitem")
        await expect(listed).to_have_count(2)
        assert "The second matter." in await listed.first.inner_text()
        frame = next(frame for frame in widget.page.frames if "/widget/frame/" in frame.url)
        assert await violations(frame, axe) == []
        # By the keyboard alone: the heading has the focus, the list follows the way back.
        keyboard = widget.page.keyboard
        await widget.frame.locator("h2:focus").wait_for()
        await keyboard.press("Tab")
        await keyboard.press("Tab")
        await keyboard.press("Enter")
        await widget.finished_answers(1)
        assert await widget.frame.locator(".question").all_inner_texts() == ["The first matter."]
        await widget.send("One thing more.")
        await widget.finished_answers(2)
        await entry(widget, "Earlier conversations")
        await widget.frame.locator("[aria-current=true]", has_text="The first matter.").wait_for()
        await keyboard.press("Escape")
        await widget.frame.get_by_role("textbox").wait_for()
        # The other device sees the same conversation when it opens it.
        await entry(first, "Earlier conversations")
        await first.frame.get_by_role("button", name="The first matter.").click()
        await first.finished_answers(2)
        assert await first.frame.locator(".question").all_inner_texts() == ["The first matter.", "One thing more."]
        await phone.close()


async def test_another_person_at_the_same_browser_sees_nothing_of_it(stack: Stack, context: BrowserContext) -> None:
    async with site(stack, await stack.publish("scripted/tokens=8")) as shop:
        backend = await Backend.of(shop)
        widget = await begun(shop, backend, context, "A private matter.")
        # The same person comes back: the site says who they are once more, and the conversation goes on.
        await widget.page.reload()
        await widget.finished_answers(1)
        await backend.identify(widget, "ada")
        await widget.send("Still me.")
        await widget.finished_answers(2)
        # The site's script says so before the widget's settings have come.
        token = backend.identity("bob")
        await widget.page.add_init_script(
            f"(window.Parley = (...command) => Parley.q.push(command)).q = [['identify', '{token}']]"
        )
        await widget.page.reload()
        await widget.show()
        await entry(widget, "Earlier conversations")
        await widget.frame.get_by_text("There are no earlier conversations.").wait_for()
        assert await widget.frame.get_by_role("listitem").count() == 0
        await widget.frame.get_by_role("button", name="Back to the conversation").click()
        await widget.send("I am Bob.")
        await widget.finished_answers(1)
        assert await widget.frame.locator(".question").all_inner_texts() == ["I am Bob."]
        assert await shop.questions() == ["I am Bob."]
