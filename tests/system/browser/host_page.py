"""A web page of another origin that embeds the widget, as a customer's site does."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import aiohttp
from aiohttp import web
from playwright.async_api import BrowserContext, FrameLocator, Page

from deploy.local.processes import free_port

OTHER_SITE, SAME_SITE = "127.0.0.2", "127.0.0.1"
LONGEST_MS = 40_000
_PAGE = """<!doctype html><html lang="{lang}"><head><meta charset="utf-8"><title>A shop</title>
<meta name="viewport" content="width=device-width, initial-scale=1"></head>
<body><main><h1>A shop</h1><p>Welcome to our shop.</p></main>
<script async src="{gateway}/widget/loader.js" data-parley-key="{key}"></script></body></html>"""


@dataclass
class Site:
    """One origin, its key, and what its pages reported."""

    origin: str
    gateway: str
    agent_id: str
    key: str
    key_id: str
    secret_key: str
    lang: str = "en"

    async def open(self, context: BrowserContext) -> "Widget":
        page = await context.new_page()
        await page.goto(self.origin)
        return Widget(page)

    async def api(self, method: str, path: str, body: Any = None) -> Any:
        headers = {"Authorization": f"Bearer {self.secret_key}"}
        async with (
            aiohttp.ClientSession(headers=headers) as http,
            http.request(method, f"{self.gateway}/api/v1{path}", json=body) as response,
        ):
            assert response.status < 300, await response.text()
            return (await response.json())["data"]

    async def answers(self) -> list[str]:
        """The stored answers of the agent's newest session."""
        sessions = await self.api("GET", f"/chat/sessions?agentId={self.agent_id}&limit=1")
        messages = await self.api("GET", f"/chat/sessions/{sessions[0]['id']}/messages")
        return [message["content"] for message in messages if message["role"] == "assistant"]

    async def questions(self) -> list[str]:
        sessions = await self.api("GET", f"/chat/sessions?agentId={self.agent_id}&limit=1")
        messages = await self.api("GET", f"/chat/sessions/{sessions[0]['id']}/messages")
        return [message["content"] for message in messages if message["role"] == "user"]


class Widget:
    """The widget on a page, as a person uses it."""

    def __init__(self, page: Page) -> None:
        self.page = page

    @property
    def frame(self) -> FrameLocator:
        return self.page.frame_locator("parley-widget iframe")

    async def show(self) -> "Widget":
        await self.page.get_by_role("button", name="Chat").click()
        await self.frame.get_by_role("textbox").wait_for()
        return self

    async def send(self, text: str) -> None:
        box = self.frame.get_by_role("textbox")
        await box.fill(text)
        await box.press("Enter")

    async def finished_answers(self, count: int) -> list[str]:
        """Waits until so many answers have ended; their text."""
        await self.frame.locator("article[aria-busy=false]").nth(count - 1).wait_for(timeout=LONGEST_MS)
        return [await each.inner_text() for each in await self.frame.locator("article[aria-busy=false]").all()]


class Running(Protocol):
    """As much of a stack as a page needs: `baseUrl` and `secretKey`."""

    @property
    def facts(self) -> dict[str, Any]: ...


@asynccontextmanager
async def site(
    stack: Running, agent_id: str, *, lang: str = "en", address: str = OTHER_SITE, **settings: Any
) -> AsyncIterator[Site]:
    """A page of another origin than the gateway's. `settings` are those of the widget.

    On another site than the gateway's, Chromium denies the frame its storage and locks; on the same site it has them.
    """
    facts = stack.facts
    port = free_port()
    origin = f"http://{address}:{port}"
    own = Site(origin, facts["baseUrl"].removesuffix("/api/v1"), agent_id, "", "", facts["secretKey"], lang)
    key = await own.api("POST", f"/agents/{agent_id}/publishable-keys", {"allowedOrigins": [origin]})
    own.key, own.key_id = key["secret"], key["id"]
    await own.api("PUT", f"/agents/{agent_id}/widget", settings)

    async def page(_: web.Request) -> web.Response:
        text = _PAGE.format(gateway=own.gateway, key=own.key, lang=own.lang)
        return web.Response(text=text, content_type="text/html")

    app = web.Application()
    app.add_routes([web.get("/", page)])
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, address, port).start()
    try:
        yield own
    finally:
        await runner.cleanup()
