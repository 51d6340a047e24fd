"""Model calls against a server on loopback that answers as badly as servers do."""

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

import orjson
import pytest
from aiohttp import web

from services.agent_worker.model.answer import Answer
from services.agent_worker.model.call import Sink
from services.agent_worker.model.client import ModelRequest, Models
from services.agent_worker.model.faults import ModelFault
from services.agent_worker.settings import Timeouts, Upstream
from shared.contracts.agents import ModelChoice
from tests.conftest import eventually
from tests.service.agent_worker.stage import serving

REQUEST = {"messages": [{"role": "user", "content": "Hi"}]}
TIMEOUTS = Timeouts(connect_s=0.5, first_token_s=0.5, token_s=0.3)


def chunk(text: str | None = None, reason: str | None = None) -> bytes:
    delta = {"content": text} if text is not None else {}
    return b"data: " + orjson.dumps({"choices": [{"index": 0, "delta": delta, "finish_reason": reason}]}) + b"\n\n"


DONE = b"data: [DONE]\n\n"
WHOLE = (chunk("Hel"), chunk("lo"), chunk(reason="stop"), DONE)


class Upstreams:
    """Answers each request by the next of `script`:

    a status, or the pieces of a body, in which a float is a pause and None a cut.
    """

    def __init__(self) -> None:
        self.script: list[int | tuple[Any, ...]] = []
        self.bodies: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.peers: set[Any] = set()
        self.abandoned = 0

    async def complete(self, request: web.Request) -> web.StreamResponse:
        self.bodies.append(orjson.loads(await request.read()))
        self.headers.append(dict(request.headers))
        assert request.transport is not None
        self.peers.add(request.transport.get_extra_info("peername"))
        answer = self.script.pop(0) if len(self.script) > 1 else self.script[0]
        if isinstance(answer, int):
            return web.json_response({"error": {"message": "no", "code": None}}, status=answer)
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        try:
            for piece in answer:
                if piece is None:
                    request.transport.abort()
                elif isinstance(piece, float):
                    await asyncio.sleep(piece)
                else:
                    await response.write(piece)
        except (asyncio.CancelledError, ConnectionError):
            self.abandoned += 1
            raise
        return response


@pytest.fixture
def upstream() -> Upstreams:
    return Upstreams()


@pytest.fixture
async def models(upstream: Upstreams) -> AsyncIterator[Models]:
    async with serving(web.post("/v1/chat/completions", upstream.complete)) as url:
        given = {"default": Upstream(base_url=f"{url}/v1"), "dead": Upstream(base_url="http://127.0.0.1:9/v1")}
        async with Models(given, TIMEOUTS) as models:
            yield models


async def ask(
    models: Models, *names: str, room: int = 10_000, shown: list[str] | None = None, upstream: str = "default"
) -> Answer:
    async def backpressure() -> None:
        pass

    choices = [ModelChoice(upstream=upstream, name=name) for name in names or ("m",)]
    return await models.answer(
        choices,
        ModelRequest(REQUEST),
        room=room,
        id_stem="x",
        sink=Sink(show=(shown if shown is not None else []).append, backpressure=backpressure),
    )


async def test_text_is_shown_as_it_comes(models: Models, upstream: Upstreams) -> None:
    usage = b'data: {"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":2}}\r\n\r\n'
    upstream.script = [(b": hello\n\n", *WHOLE[:3], usage, DONE)]
    shown: list[str] = []
    answer = await ask(models, shown=shown)
    assert shown == ["Hel", "lo"] == answer.text
    assert answer.usage is not None
    assert answer.usage.total_tokens == 5
    assert upstream.bodies[0] == {"model": "m", "stream": True, "stream_options": {"include_usage": True}, **REQUEST}


async def test_a_stream_cut_at_every_byte_reads_the_same(models: Models, upstream: Upstreams) -> None:
    body = b"".join(WHOLE)
    upstream.script = [tuple(part for byte in body for part in (bytes([byte]), 0.0))]
    shown: list[str] = []
    await ask(models, shown=shown)
    assert "".join(shown) == "Hello"


async def test_connections_are_used_again(models: Models, upstream: Upstreams) -> None:
    upstream.script = [WHOLE]
    for _ in range(5):
        await ask(models)
    assert len(upstream.peers) == 1


@pytest.mark.parametrize(
    "fault",
    [
        429,
        500,
        503,
        (None,),
        (b": still here\n\n", None),
        (chunk(""), b'data: {"error":{"message":"busy","code":503}}\n\n'),
        (chunk(""),),
        (chunk(""), DONE),
        (b"data: not json\n\n",),
        (b"data: [1]\n\n",),
        (1.0,),
        (
            b'data: {"choices":[{"delta":{"tool_calls":[{"index":0,"id":"a","function":{"arguments":"{"}}]}}]}\n\n',
            None,
        ),
    ],
)
async def test_a_fault_before_the_first_text_is_tried_again_unseen(
    models: Models, upstream: Upstreams, fault: Any
) -> None:
    upstream.script = [fault, WHOLE]
    shown: list[str] = []
    answer = await ask(models, shown=shown)
    assert shown == ["Hel", "lo"]
    assert answer.tool_calls == ()
    assert len(upstream.bodies) == 2


@pytest.mark.parametrize(
    "fault",
    [
        (chunk("Hel"), None),
        (chunk("Hel"),),
        (chunk("Hel"), b'data: {"error":{"message":"no"}}\n\n'),
        (chunk("Hel"), b"data: nonsense\n\n"),
        (chunk("Hel"), 2.0),
    ],
)
async def test_a_fault_after_text_is_told_and_not_tried_again(models: Models, upstream: Upstreams, fault: Any) -> None:
    upstream.script = [fault]
    with pytest.raises(ModelFault) as caught:
        await ask(models, "m", "other")
    assert caught.value.after_text
    assert len(upstream.bodies) == 1


@pytest.mark.parametrize("ending", [(), (None,), (b"data: nonsense\n\n",), (b'data: {"error":{"message":"no"}}\n\n',)])
async def test_an_answer_that_has_its_finish_reason_is_whole(models: Models, upstream: Upstreams, ending: Any) -> None:
    upstream.script = [(chunk("Hi"), chunk(reason="stop"), *ending)]
    assert (await ask(models)).text == ["Hi"]


async def test_a_server_that_never_closes_costs_little_after_done(models: Models, upstream: Upstreams) -> None:
    upstream.script = [(*WHOLE, 30.0)]
    started = time.monotonic()
    await ask(models)
    assert time.monotonic() - started < 10


@pytest.mark.parametrize("status", [400, 401, 403, 404, 422])
async def test_a_refusal_is_not_repeated_but_the_next_model_is_asked(
    models: Models, upstream: Upstreams, status: int
) -> None:
    upstream.script = [status, WHOLE]
    assert (await ask(models, "m", "other")).text == ["Hel", "lo"]
    assert [body["model"] for body in upstream.bodies] == ["m", "other"]


async def test_a_refusal_by_all_models_is_not_retryable(models: Models, upstream: Upstreams) -> None:
    upstream.script = [401]
    with pytest.raises(ModelFault) as caught:
        await ask(models, "m", "other")
    assert not caught.value.retryable


async def test_a_busy_model_is_tried_three_times_and_then_the_next(models: Models, upstream: Upstreams) -> None:
    upstream.script = [500, 500, 500, WHOLE]
    await ask(models, "m", "other")
    assert [body["model"] for body in upstream.bodies] == ["m", "m", "m", "other"]


async def test_a_refused_connection_is_a_retryable_fault(models: Models) -> None:
    with pytest.raises(ModelFault) as caught:
        await ask(models, upstream="dead")
    assert caught.value.retryable


async def test_an_upstream_that_is_not_configured_is_a_fault(models: Models) -> None:
    with pytest.raises(ModelFault) as caught:
        await ask(models, upstream="unknown")
    assert not caught.value.retryable


async def test_a_cancelled_call_closes_its_connection(models: Models, upstream: Upstreams) -> None:
    upstream.script = [(chunk("Hel"), 0.2, chunk("lo"), *([0.2, chunk(".")] * 100))]
    shown: list[str] = []
    call = asyncio.create_task(ask(models, shown=shown))
    await eventually(lambda: bool(shown))
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    await eventually(lambda: upstream.abandoned == 1, within_s=1.0)


async def test_an_endless_answer_is_cut_off(models: Models, upstream: Upstreams) -> None:
    upstream.script = [tuple(chunk("x" * 1000) for _ in range(10_000))]
    answer = await ask(models, room=50_000)
    assert answer.finish_reason == "length"
    assert answer.size < 150_000
    await eventually(lambda: upstream.abandoned == 1, within_s=2.0)


async def test_an_exception_of_the_sink_ends_the_call_and_is_passed_on(models: Models, upstream: Upstreams) -> None:
    class Stop(Exception):
        pass

    def show(_: str) -> None:
        raise Stop

    async def backpressure() -> None:
        pass

    upstream.script = [WHOLE]
    with pytest.raises(Stop):
        await models.answer(
            [ModelChoice(name="m")],
            ModelRequest(REQUEST),
            room=100,
            id_stem="x",
            sink=Sink(show=show, backpressure=backpressure),
        )
    assert len(upstream.bodies) == 1


async def test_a_thinking_model_may_take_longer_than_the_first_token_timeout(
    models: Models, upstream: Upstreams
) -> None:
    thought = b'data: {"choices":[{"delta":{"reasoning_content":"hm"}}]}\n\n'
    upstream.script = [(*[thought, 0.2] * 5, *WHOLE)]
    assert (await ask(models)).text == ["Hel", "lo"]


async def test_the_key_goes_to_its_upstream_and_nothing_of_this_machine() -> None:
    seen = Upstreams()
    seen.script = [WHOLE, WHOLE]
    async with serving(web.post("/v1/chat/completions", seen.complete)) as url:
        given = {"default": Upstream.model_validate({"baseUrl": f"{url}/v1", "apiKey": "k-1"})}
        async with Models(given, TIMEOUTS) as models:
            for _ in range(2):
                await ask(models)
    assert len(seen.headers) == 2
    for headers in seen.headers:
        assert (headers["Authorization"], headers["Content-Type"]) == ("Bearer k-1", "application/json")
        assert headers["User-Agent"].startswith("AsyncOpenAI/")
        assert {name.lower() for name in headers if "stainless" in name.lower()} == {"x-stainless-retry-count"}


async def test_each_call_has_its_own_body(models: Models, upstream: Upstreams) -> None:
    upstream.script = [WHOLE]
    names = ["a", "a-model-with-a-longer-name", "b"]
    for name in names:
        await ask(models, name)
    assert [body["model"] for body in upstream.bodies] == names
