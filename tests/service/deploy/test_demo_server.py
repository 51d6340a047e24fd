"""The demo process over HTTP, as a worker's model client and its tools meet it."""

from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import orjson
import pytest
from aiohttp import web
from aiohttp.test_utils import unused_port

from deploy.demo.model import create_app
from deploy.demo.scripted import scripted_answer
from tests.conftest import eventually

QUESTION = "question 4"


class Client:
    def __init__(self, base: str, http: aiohttp.ClientSession) -> None:
        self.base = base
        self.http = http

    def complete(self, model: str, **members: Any) -> Any:
        body = {"model": model, "messages": [{"role": "user", "content": QUESTION}], **members}
        return self.http.post(f"{self.base}/v1/chat/completions", json=body)

    async def stats(self) -> dict[str, int]:
        async with self.http.get(f"{self.base}/stats") as response:
            counts: dict[str, int] = await response.json()
            return counts


@pytest.fixture
async def client() -> AsyncIterator[Client]:
    runner = web.AppRunner(create_app(0.0), access_log=None, handler_cancellation=True, shutdown_timeout=0.5)
    await runner.setup()
    port = unused_port()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    async with aiohttp.ClientSession() as http:
        yield Client(f"http://127.0.0.1:{port}", http)
    await runner.cleanup()


def events(raw: bytes) -> list[Any]:
    """The `data:` of a stream; `[DONE]` stays text."""
    data = [block.removeprefix(b"data: ") for block in raw.split(b"\n\n") if block]
    return ["[DONE]" if item == b"[DONE]" else orjson.loads(item) for item in data]


async def collect(response: aiohttp.ClientResponse, parts: list[bytes]) -> None:
    async for part in response.content.iter_any():
        parts.append(part)  # noqa: PERF401  (what came before the cut must be kept)


def text_of(chunks: list[Any]) -> str:
    return "".join(
        chunk["choices"][0]["delta"].get("content") or ""
        for chunk in chunks
        if chunk != "[DONE]" and chunk.get("choices")
    )


@pytest.mark.parametrize("delay", [0, 2])
async def test_a_stream_joins_to_the_scripted_answer_and_ends_with_usage(client: Client, delay: int) -> None:
    model = f"scripted/tokens=20,text=echo,delay={delay}"
    async with client.complete(model, stream=True, stream_options={"include_usage": True}) as response:
        chunks = events(await response.read())
    assert text_of(chunks) == scripted_answer(QUESTION, 20)
    assert chunks[-1] == "[DONE]"
    assert (chunks[-2]["choices"], chunks[-2]["usage"]["completion_tokens"]) == ([], 20)
    assert chunks[-3]["choices"][0]["finish_reason"] == "stop"
    assert chunks[0]["choices"][0]["delta"] == {"role": "assistant", "content": ""}


async def test_usage_is_told_only_when_asked(client: Client) -> None:
    async with client.complete("scripted/tokens=2", stream=True) as response:
        chunks = events(await response.read())
    assert not any("usage" in chunk for chunk in chunks if chunk != "[DONE]")


async def test_an_answer_that_is_not_streamed_has_the_same_text(client: Client) -> None:
    async with client.complete("scripted/tokens=20,text=echo") as response:
        body = await response.json()
    assert body["choices"][0]["message"]["content"] == scripted_answer(QUESTION, 20)


async def test_a_status_fails_so_often_and_then_succeeds(client: Client) -> None:
    statuses = []
    for _ in range(3):
        async with client.complete("scripted/tokens=1,fail=429,fail_times=2", stream=True) as response:
            statuses.append((response.status, response.headers.get("Retry-After")))
    assert statuses == [(429, "1"), (429, "1"), (200, None)]


async def test_a_cut_stream_breaks_off_in_the_middle(client: Client) -> None:
    async with client.complete("scripted/tokens=8,fail=cut", stream=True) as response:
        parts: list[bytes] = []
        with pytest.raises(aiohttp.ClientPayloadError):
            await collect(response, parts)
    assert b'"finish_reason":"stop"' not in b"".join(parts)


async def test_an_error_chunk_and_a_missing_end_close_the_stream_cleanly(client: Client) -> None:
    async with client.complete("scripted/tokens=8,fail=error_chunk,after=3", stream=True) as response:
        chunks = events(await response.read())
    assert "error" in chunks[-1]
    assert len(chunks) == 1 + 3 + 1
    async with client.complete("scripted/tokens=8,fail=nofinish", stream=True) as response:
        chunks = events(await response.read())
    assert all(chunk["choices"][0]["finish_reason"] is None for chunk in chunks)


async def test_a_client_that_leaves_a_hanging_stream_is_noticed(client: Client) -> None:
    async with client.complete("scripted/tokens=4,fail=hang", stream=True) as response:
        await response.content.readany()
        assert (await client.stats())["active"] == 1
        response.close()

    async def abandoned() -> bool:
        stats = await client.stats()
        return (stats["requests"], stats["active"], stats["abandoned"], stats["billedTokens"]) == (1, 0, 1, 0)

    await eventually(abandoned)


async def test_unknown_models_and_bad_requests_get_openais_error_body(client: Client) -> None:
    async with client.complete("gpt-nowhere") as response:
        assert (response.status, (await response.json())["error"]["code"]) == (404, "model_not_found")
    async with client.complete("scripted/tokens=x") as response:
        assert (response.status, (await response.json())["error"]["message"]) == (400, "tokens wants a number, not 'x'")
    async with client.http.post(f"{client.base}/v1/chat/completions", data=b"[") as response:
        assert response.status == 400


async def test_orders_are_told_by_get_and_post(client: Client) -> None:
    async with client.http.post(f"{client.base}/tools/order_status", json={"order_id": "1042"}) as response:
        posted = await response.json()
    async with client.http.get(f"{client.base}/tools/order_status", params={"order_id": "#1042"}) as response:
        assert await response.json() == posted
    assert (posted["orderId"], posted["status"]) == ("1042", "out_for_delivery")
    async with client.http.get(f"{client.base}/tools/order_status", params={"order_id": "5"}) as response:
        assert (await response.json())["status"] == "unknown"


async def test_counted_calls_show_their_idempotency_keys_in_order(client: Client) -> None:
    for key in ("one", "two", "one"):
        async with client.http.post(
            f"{client.base}/tools/count", json={"n": 1}, headers={"Idempotency-Key": key}
        ) as response:
            assert response.status == 200
    async with client.http.post(f"{client.base}/tools/count?status=500") as response:
        assert response.status == 500
    async with client.http.get(f"{client.base}/tools/counter") as response:
        calls = await response.json()
    assert [call["idempotencyKey"] for call in calls] == ["one", "two", "one", None]
    assert calls[0]["arguments"] == {"n": 1}
