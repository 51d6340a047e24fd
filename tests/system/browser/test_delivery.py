"""Messages that the network loses, in a real browser: each becomes one turn."""

from playwright.async_api import BrowserContext, Request, Response, Route

from tests.conftest import eventually
from tests.system.browser.host_page import site
from tests.system.stack import Stack

POSTS = "**/chat/sessions/*/messages"


async def test_a_message_whose_answer_is_lost_is_sent_again_and_becomes_one_turn(
    stack: Stack, context: BrowserContext
) -> None:
    accepted: list[Response] = []
    lost: list[int] = []

    async def lose_the_first(route: Route, request: Request) -> None:
        if lost or request.method != "POST":
            await route.continue_()
            return
        lost.append((await route.fetch()).status)
        await route.abort()

    def note(response: Response) -> None:
        if response.request.method == "POST" and "/messages" in response.url and response.ok:
            accepted.append(response)

    await context.route(POSTS, lose_the_first)
    context.on("response", note)
    async with site(stack, await stack.publish("scripted/tokens=8")) as shop:
        widget = await (await shop.open(context)).show()
        await widget.send("Once.")

        async def is_accepted() -> bool:
            return bool(accepted)

        await eventually(is_accepted, within_s=30, what="the accepted repeat")
        await widget.finished_answers(1)
        assert lost == [202]
        assert await shop.questions() == ["Once."]
        assert await widget.frame.locator(".question").count() == 1


async def test_a_message_that_was_not_sent_before_a_reload_is_sent_once_after_it(
    stack: Stack, context: BrowserContext
) -> None:
    async with site(stack, await stack.publish("scripted/tokens=8")) as shop:
        widget = await (await shop.open(context)).show()
        await widget.send("Before.")
        await widget.finished_answers(1)
        await context.route(POSTS, lambda route: route.abort())
        await widget.send("Held back.")
        await widget.frame.get_by_text("Not sent yet").wait_for()
        await widget.page.reload()
        await widget.frame.get_by_text("Held back.").wait_for()
        await context.unroute(POSTS)
        await widget.finished_answers(2)
        assert await shop.questions() == ["Before.", "Held back."]
