"""A guardrail's server that does as its path says, and what it was asked."""

import asyncio
from typing import Any

import orjson
from aiohttp import web
from standardwebhooks.webhooks import Webhook

SIGNING_SECRET = "whsec_" + "QUJDREVGR0hJSktMTU5PUFFSU1RVVldY"


class HookServer:
    """`signed` counts the requests whose signature is right."""

    def __init__(self) -> None:
        self.asked: list[dict[str, Any]] = []
        self.ids: list[str] = []
        self.signed = 0

    async def answer(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        self.ids.append(request.headers["webhook-id"])
        Webhook(SIGNING_SECRET).verify(body, dict(request.headers))
        self.signed += 1
        asked = orjson.loads(body)
        self.asked.append(asked)
        return await self._answer(request, asked["texts"])

    async def _answer(self, request: web.Request, texts: list[str]) -> web.StreamResponse:
        what = request.match_info["what"]
        match what:
            case "allow":
                return web.json_response({"action": "allow", "more": "ignored"})
            case "block":
                return web.json_response({"action": "block", "message": "Not here."})
            case "block-secrets":
                is_bad = any("secret" in text for text in texts)
                return web.json_response({"action": "block"} if is_bad else {"action": "allow"})
            case "shout":
                return web.json_response({"action": "replace", "texts": [text.upper() for text in texts]})
            case "hang":
                await asyncio.Event().wait()
            case "drip":
                return await self._drip(request)
            case "huge":
                body = b'{"action": "allow", "x": "' + b"x" * 10_000_000 + b'"}'
                return web.Response(body=body, content_type="application/json")
            case "abort":
                assert request.transport is not None
                request.transport.abort()
        answer: web.Response = ANSWERS[what]()
        return answer

    @staticmethod
    async def _drip(request: web.Request) -> web.StreamResponse:
        """A byte now and then, for ever: each read succeeds, the answer never ends."""
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        await response.prepare(request)
        while True:
            await response.write(b" ")
            await asyncio.sleep(0.02)


def _json(value: Any) -> web.Response:
    return web.Response(body=orjson.dumps(value), content_type="application/json")


ANSWERS: dict[str, Any] = {
    "abort": web.Response,
    "no-json": lambda: web.Response(text="yes, all is well"),
    "half-json": lambda: web.Response(text='{"action": "al', content_type="application/json"),
    "a-list": lambda: _json(["allow"]),
    "unknown-action": lambda: _json({"action": "perhaps"}),
    "no-texts": lambda: _json({"action": "replace"}),
    "too-many-texts": lambda: _json({"action": "replace", "texts": ["a"] * 1000}),
    "texts-of-numbers": lambda: _json({"action": "replace", "texts": [1]}),
    "endless-growth": lambda: _json({"action": "replace", "texts": ["x" * 60_000]}),
    "deep": lambda: web.Response(text="[" * 30_000, content_type="application/json"),
    "half-character": lambda: web.Response(
        text='{"action": "block", "message": "\\ud800"}', content_type="application/json"
    ),
    "long-message": lambda: _json({"action": "block", "message": "x" * 5000}),
    "error": lambda: web.Response(status=500, text='{"action": "allow"}', content_type="application/json"),
    "no-content": lambda: web.Response(status=204),
    "redirect": lambda: web.Response(status=307, headers={"Location": "/hooks/allow"}),
    "picture": lambda: web.Response(body=b"\x89PNG", content_type="image/png"),
}
LIES = [name for name in ANSWERS if name != "endless-growth"] + ["huge", "hang", "drip"]
