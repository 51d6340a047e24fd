"""What an upstream makes of a request: redirects, members that it refuses, its options, long prompts, companions."""

from typing import Any

import pytest
from aiohttp import web

from services.agent_worker.model import client
from services.agent_worker.model.answer import Answer
from services.agent_worker.model.call import Sink
from services.agent_worker.model.client import ModelRequest, Models
from services.agent_worker.model.faults import ModelFault
from services.agent_worker.model.request import COMPANIONS
from services.agent_worker.settings import Timeouts, Upstream
from shared.contracts.agents import ModelChoice
from tests.service.agent_worker.stage import serving
from tests.upstream.quirky import QuirkyUpstream

TIMEOUTS = Timeouts(connect_s=5.0, first_token_s=20.0, token_s=20.0)
MESSAGES = [{"role": "user", "content": "Hi"}]


@pytest.fixture(autouse=True)
def quick_retries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "BACKOFF_S", 0.001)


async def ask(models: Models, name: str, request: ModelRequest | None = None, upstream: str = "default") -> Answer:
    async def backpressure() -> None:
        pass

    return await models.answer(
        [ModelChoice(upstream=upstream, name=name)],
        request or ModelRequest({"messages": MESSAGES, "temperature": 0.2}),
        room=100_000,
        id_stem="stem",
        sink=Sink(show=lambda _: None, backpressure=backpressure),
    )


def models_at(url: str, **options: Any) -> Models:
    upstream = Upstream.model_validate({"baseUrl": f"{url}/v1", "apiKey": "k-1", **options})
    return Models({"default": upstream}, TIMEOUTS)


@pytest.mark.parametrize("status", [307, 308])
async def test_a_redirect_is_followed_with_its_body_and_key(status: int) -> None:
    upstream, headers = QuirkyUpstream(), list[str | None]()

    async def move(request: web.Request) -> web.Response:
        await request.read()
        return web.Response(status=status, headers={"Location": "/v2/chat/completions"})

    async def complete(request: web.Request) -> web.StreamResponse:
        headers.append(request.headers.get("Authorization"))
        return await upstream.complete(request)

    routes = [web.post("/v1/chat/completions", move), web.post("/v2/chat/completions", complete)]
    async with serving(*routes) as url, models_at(url) as models:
        answer = await ask(models, "plain")
    assert answer.text == ["Hel", "lo"]
    assert headers == ["Bearer k-1"]
    assert upstream.bodies["plain"][0]["messages"] == MESSAGES


async def test_a_redirect_to_another_host_does_not_take_the_key_along() -> None:
    upstream, headers = QuirkyUpstream(), list[str | None]()

    async def complete(request: web.Request) -> web.StreamResponse:
        headers.append(request.headers.get("Authorization"))
        return await upstream.complete(request)

    async with serving(web.post("/v1/chat/completions", complete)) as there:

        async def move(_: web.Request) -> web.Response:
            return web.Response(status=307, headers={"Location": f"{there}/v1/chat/completions"})

        async with serving(web.post("/v1/chat/completions", move)) as url, models_at(url) as models:
            await ask(models, "plain")
    assert headers == [None]


async def test_a_member_that_was_refused_is_left_out_of_later_calls() -> None:
    upstream = QuirkyUpstream()
    async with serving(*upstream.routes) as url, models_at(url) as models:
        for _ in range(3):
            await ask(models, "unknown-stream_options")
    assert ["stream_options" in body for body in upstream.bodies["unknown-stream_options"]] == [
        True,
        False,
        False,
        False,
    ]


async def test_one_model_may_refuse_a_member_that_another_takes() -> None:
    upstream = QuirkyUpstream()
    async with serving(*upstream.routes) as url, models_at(url) as models:
        await ask(models, "unknown-stream_options")
        await ask(models, "plain")
    assert "stream_options" in upstream.bodies["plain"][0]


async def test_members_can_be_left_out_by_configuration() -> None:
    upstream = QuirkyUpstream()
    options = {"omit": ["stream_options", "temperature"]}
    async with serving(*upstream.routes) as url, models_at(url, options=options) as models:
        await ask(models, "plain")
    assert upstream.bodies["plain"] == [{"model": "plain", "stream": True, "messages": MESSAGES}]


async def test_headers_and_query_of_the_configuration_go_with_each_request() -> None:
    seen: list[tuple[str | None, str | None, str | None]] = []
    upstream = QuirkyUpstream()

    async def complete(request: web.Request) -> web.StreamResponse:
        seen.append((request.query.get("api-version"), request.headers.get("X-Team"), request.headers.get("api-key")))
        return await upstream.complete(request)

    more = {"query": {"api-version": "2026-01-01"}, "headers": {"X-Team": "shop"}, "kind": "azure"}
    async with serving(web.post("/v1/chat/completions", complete)) as url, models_at(url, **more) as models:
        await ask(models, "plain")
    assert seen == [("2026-01-01", "shop", "k-1")]


async def test_a_prompt_that_is_too_long_is_shortened_once() -> None:
    upstream, shrunk = QuirkyUpstream(), list[bool]()

    def shrink() -> dict[str, Any]:
        shrunk.append(True)
        return {"messages": MESSAGES}

    long = [{"role": "user", "content": "Hello"}, {"role": "assistant", "content": "Hi"}, *MESSAGES]
    async with serving(*upstream.routes) as url, models_at(url) as models:
        with pytest.raises(ModelFault) as caught:
            await ask(models, "too-long-refused-openai", ModelRequest({"messages": long}, shrink=shrink))
        answer = await ask(models, "too-long-once", ModelRequest({"messages": long}, shrink=shrink))
    assert caught.value.kind == "context_length"
    assert shrunk == [True, True]
    assert [len(body["messages"]) for body in upstream.bodies["too-long-refused-openai"]] == [3, 1]
    assert [len(body["messages"]) for body in upstream.bodies["too-long-once"]] == [3, 1]
    assert answer.text == ["Hello"]


async def test_a_prompt_that_cannot_be_shortened_is_not_sent_again() -> None:
    upstream = QuirkyUpstream()
    async with serving(*upstream.routes) as url, models_at(url) as models:
        with pytest.raises(ModelFault):
            await ask(models, "too-long-once", ModelRequest({"messages": MESSAGES * 2}, shrink=lambda: None))
    assert len(upstream.bodies["too-long-once"]) == 1


async def test_a_companion_that_a_model_refuses_is_left_out_of_later_calls() -> None:
    upstream = QuirkyUpstream()
    call = {"id": "a", "type": "function", "function": {"name": "x", "arguments": "{}"}}
    called = {"role": "assistant", "content": None, "tool_calls": [call]}
    kept = {**called, COMPANIONS: {"upstream": "default", "members": '{"reasoning_content":"Hm."}'}}
    request = ModelRequest({"messages": [*MESSAGES, kept, {"role": "tool", "tool_call_id": "a", "content": "1"}]})
    async with serving(*upstream.routes) as url, models_at(url) as models:
        for _ in range(2):
            await ask(models, "unknown-reasoning_content", request)
    sent = [body["messages"][1] for body in upstream.bodies["unknown-reasoning_content"]]
    assert sent == [{**called, "reasoning_content": "Hm."}, called, called]
