"""What a hostile model, document or site owner writes is shown, and never runs or loads anything."""

from urllib.parse import urlsplit

import orjson
from playwright.async_api import BrowserContext, Request, Route

from shared.ids import new_id
from tests.system.browser.host_page import site
from tests.system.browser.hostile import hostile_texts, hostile_urls
from tests.system.stack import Stack

_WATCH = """
window.violations = [];
document.addEventListener('securitypolicyviolation', (event) => violations.push(event.violatedDirective));
window.ran = 0;
for (const name of ['alert', 'confirm', 'prompt', 'open']) window[name] = () => { window.ran = 1 };
"""


def events_of(texts: list[str], urls: list[str]) -> bytes:
    """A session whose every turn holds a hostile question, answer, passage and tool."""
    frames = []
    for number, text in enumerate(texts, 1):
        turn = new_id("trn")
        question = {"id": new_id("msg"), "role": "user", "content": text}
        started = {"turnId": turn, "number": number, "createdAt": text, "messages": [question]}
        passage = {
            "id": text,
            "title": text,
            "heading": text,
            "url": urls[number % len(urls)],
            "text": text,
            "marker": 1,
        }
        frames += [
            _frame("turn_started", f"{turn}.0-0", started),
            _frame("kb_retrieval", f"{turn}.1-1", {"query": text, "passages": [passage]}),
            _frame("tool_call", f"{turn}.1-2", {"toolCallId": "1", "name": text, "arguments": text}),
            _frame("delta", f"{turn}.1-3", {"text": text + "\n\n[1]"}),
        ]
        if number % 2:
            answer = {"id": new_id("msg"), "role": "assistant", "content": text + "\n\n[1]", "citations": []}
            ended = {"turnId": turn, "number": number, "status": "completed", "messages": [answer]}
            frames.append(_frame("turn_ended", f"{turn}.1-4", ended))
    return b"".join(frames)


def _frame(event: str, frame_id: str, data: object) -> bytes:
    return f"event: {event}\ndata: {orjson.dumps(data).decode()}\nid: {frame_id}\n\n".encode()


async def test_hostile_content_runs_nothing_and_loads_nothing(stack: Stack, context: BrowserContext) -> None:
    texts, urls = hostile_texts(), hostile_urls()
    assert len(texts) >= 150
    asked: list[str] = []
    context.on("request", lambda request: asked.append(request.url))
    dialogs: list[str] = []
    await context.add_init_script(_WATCH)

    async def stream(route: Route, _: Request) -> None:
        await route.fulfill(status=200, content_type="text/event-stream", body=events_of(texts, urls))

    await context.route("**/events?frames=true", stream)
    line = "<img src=x onerror=window.ran=1>"
    async with site(
        stack,
        await stack.publish("scripted/tokens=8"),
        title=line,
        greeting={"en": texts[0][:900]},
        suggestions={"en": [line, "[x](javascript:window.ran=1)"]},
        placeholder={"en": line},
        launcher={"label": line},
    ) as shop:
        widget = await shop.open(context)
        widget.page.on("dialog", lambda dialog: dialogs.append(dialog.message))
        await widget.page.locator("parley-widget button").click()
        await widget.send("Hello.")
        await widget.frame.locator("article").nth(len(texts) - 1).wait_for(timeout=60_000)
        frame = next(frame for frame in widget.page.frames if "/widget/frame/" in frame.url)
        # Every link that is shown is one of the three kinds, and opens elsewhere without a way back.
        links = await frame.evaluate("[...document.links].map((a) => [a.protocol, a.target, a.rel])")
        assert {link[0] for link in links} <= {"http:", "https:", "mailto:"}
        assert {(link[1], link[2]) for link in links} == {("_blank", "noopener noreferrer nofollow")}
        tags = set(await frame.evaluate("[...document.body.querySelectorAll('*')].map((e) => e.localName)"))
        assert not tags & {"img", "image", "script", "style", "iframe", "object", "embed", "video", "base"}
        styled = await frame.evaluate("[...document.body.querySelectorAll('[style]')].map((e) => e.localName)")
        assert set(styled) <= {"textarea"}
        handlers = (
            "[...document.querySelectorAll('*')].flatMap((e) => e.getAttributeNames()).filter((n) => /^on/.test(n))"
        )
        assert await frame.evaluate(handlers) == []
        assert await frame.evaluate("window.ran") == 0
        assert await widget.page.evaluate("window.ran") == 0
        assert await frame.evaluate("window.violations") == []
        assert dialogs == []
        own = {urlsplit(shop.gateway).netloc, urlsplit(shop.origin).netloc}
        assert {urlsplit(url).netloc for url in asked} <= own
