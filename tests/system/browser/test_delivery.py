"""Messages that the network loses, in a real browser: each becomes one turn."""

from typing import Any

import orjson
from playwright.async_api import BrowserContext, Request, Response, Route

from shared.ids import new_id
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


def told(event: str, event_id: str, **data: Any) -> bytes:
    return f"event: {event}\ndata: {orjson.dumps(data).decode()}\nid: {event_id}\n\n".encode()


async def test_events_that_come_again_are_shown_once(stack: Stack, context: BrowserContext) -> None:
    turn, asked = new_id("trn"), []
    events = b"".join(
        (
            told("turn_started", f"{turn}.0-0", turnId=turn, number=1, createdAt="2026-01-01T00:00:00Z", messages=[]),
            told("delta", f"{turn}.1-1", text="One "),
            told("delta", f"{turn}.1-2", text="two."),
        )
    )

    async def tell_all_again(route: Route) -> None:
        asked.append(route.request.url)
        await route.fulfill(status=200, content_type="text/event-stream", body=events)

    await context.route("**/events?frames=true", tell_all_again)
    async with site(stack, await stack.publish("scripted/tokens=8")) as shop:
        widget = await (await shop.open(context)).show()
        await widget.send("Hello.")

        async def is_told_again() -> bool:
            return len(asked) >= 3

        await eventually(is_told_again, within_s=30, what="the third stream")
        assert (await widget.frame.locator("article").all_inner_texts()) == ["One two."]


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
