"""The operator's redaction server: asked with a signature, and not trusted to answer, to be quick or to be right."""

import asyncio
from collections.abc import AsyncIterator

import orjson
import pytest
from aiohttp import web
from standardwebhooks import Webhook

from shared.contracts.errors import ApiError, Code
from shared.redaction_hook import RedactionHook
from tests.service.agent_worker.stage import serving

SECRET = "whsec_c2VjcmV0LW9mLXRoZS10ZXN0cw=="
SAID = ["I am Jane.", "Call me."]


@pytest.fixture
async def url() -> AsyncIterator[str]:
    async def redact(request: web.Request) -> web.Response:
        body = await request.read()
        Webhook(SECRET).verify(body, dict(request.headers))
        asked = orjson.loads(body)
        assert (asked["agentId"], asked["stage"]) == ("agt_1", "message")
        return web.json_response({"texts": [text.replace("Jane", "[name]") for text in asked["texts"]]})

    async def hang(_: web.Request) -> web.Response:
        await asyncio.Event().wait()
        raise AssertionError

    async def endless(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        for _ in range(160):  # 10 MiB
            await response.write(b"x" * 65_536)
        return response

    lies = {
        "too_few": b'{"texts": ["one"]}',
        "too_many": b'{"texts": ["1", "2", "3"]}',
        "no_texts": b'{"texts": [1, null]}',
        "no_list": b'{"texts": "ab"}',
        "no_object": b"[]",
        "no_json": b"<html>",
        "half_a_character": b'{"texts": ["\\ud800", "2"]}',
        "nothing": b"",
    }

    async def lie(request: web.Request) -> web.Response:
        return web.Response(body=lies[request.match_info["lie"]])

    async def fail(_: web.Request) -> web.Response:
        return web.Response(status=500)

    async def elsewhere(_: web.Request) -> web.Response:
        raise web.HTTPTemporaryRedirect("/redact")

    routes = [web.post(f"/{handler.__name__}", handler) for handler in (redact, hang, endless, fail, elsewhere)]
    async with serving(*routes, web.post("/lie/{lie}", lie)) as url:
        yield url


async def test_texts_are_redacted_by_a_signed_request(url: str) -> None:
    hook = RedactionHook(f"{url}/redact", SECRET)
    assert await hook.redacted("trn_1", "agt_1", "message", SAID) == ["I am [name].", "Call me."]


BAD = (
    *("/hang", "/endless", "/fail", "/elsewhere", "/nowhere"),
    *(f"/lie/{lie}" for lie in ("too_few", "too_many", "no_texts", "no_list", "no_object", "no_json", "nothing")),
    "/lie/half_a_character",
)


@pytest.mark.parametrize("path", BAD)
async def test_a_server_that_hangs_lies_or_answers_too_much_has_not_redacted(url: str, path: str) -> None:
    timeout_s = 0.2 if path == "/hang" else 4.0
    hook = RedactionHook(url + path, SECRET, timeout_s=timeout_s)
    with pytest.raises(ApiError) as refused:
        await hook.redacted("trn_1", "agt_1", "message", SAID)
    assert refused.value.code is Code.DEPENDENCY_UNAVAILABLE
    hook = RedactionHook(url + path, SECRET, timeout_s=timeout_s, fails_open=True)
    assert await hook.redacted("trn_1", "agt_1", "message", SAID) == SAID


async def test_a_server_that_is_not_there_or_not_configured_has_not_redacted() -> None:
    for url in ("http://127.0.0.1:9/redact", ""):
        hook = RedactionHook(url, SECRET)
        with pytest.raises(ApiError):
            await hook.redacted("trn_1", "agt_1", "message", SAID)
