"""Messages that other windows post to the loader and the frame change nothing."""

from typing import Any

import orjson
from playwright.async_api import BrowserContext

from tests.system.browser.host_page import site
from tests.system.stack import Stack

EVIL_ACCESS = {"token": "parley_vt_evil", "expiresAt": "2999-01-01T00:00:00Z", "sessionId": "ses_evil"}
TO_LOADER: list[dict[str, Any]] = [
    {"type": "access", "access": EVIL_ACCESS},
    {"type": "event", "name": "message", "detail": "forged"},
    {"type": "unread", "count": 7},
    {"type": "close"},
]
# A frame of an advertisement: its origin is opaque, its parent is the page.
POST = """(messages) => new Promise((done) => {
    window.forged = 0;
    Parley('on', 'message', (detail) => { if (detail === 'forged') window.forged++; });
    window.addEventListener('message', (event) => { if (event.data === 'posted') setTimeout(done, 50); });
    const frame = document.createElement('iframe');
    frame.sandbox = 'allow-scripts';
    frame.srcdoc = `<script>for (const each of ${messages}) parent.postMessage({...each, mark: 'parley-1'}, '*');
        parent.postMessage('posted', '*');</` + 'script>';
    document.body.append(frame);
})"""


async def test_another_frame_of_the_page_cannot_speak_for_the_widgets_frame(
    stack: Stack, context: BrowserContext
) -> None:
    async with site(stack, await stack.publish("scripted/tokens=8")) as shop:
        widget = await (await shop.open(context)).show()
        await widget.send("Mine.")
        await widget.finished_answers(1)
        await widget.page.evaluate(POST, orjson.dumps(TO_LOADER).decode())
        assert await widget.page.evaluate("window.forged") == 0
        assert "evil" not in await widget.page.evaluate("JSON.stringify(localStorage)")
        assert await widget.page.locator("parley-widget .count").is_hidden()
        assert await widget.frame.get_by_role("textbox").is_visible()


async def test_only_the_page_that_holds_the_frame_can_speak_to_it(stack: Stack, context: BrowserContext) -> None:
    async with site(stack, await stack.publish("scripted/tokens=8")) as shop:
        widget = await (await shop.open(context)).show()
        frame = next(frame for frame in widget.page.frames if "/widget/frame/" in frame.url)
        forged = """(origin) => {
            const data = {mark: 'parley-1', type: 'send', text: 'Forged.'};
            window.dispatchEvent(new MessageEvent('message', {data, origin, source: window}));
            window.dispatchEvent(new MessageEvent('message', {data, origin: 'https://evil.example', source: parent}));
        }"""
        await frame.evaluate(forged, shop.origin)
        await widget.send("Mine.")
        await widget.finished_answers(1)
        assert await shop.questions() == ["Mine."]
