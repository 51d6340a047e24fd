"""An embeddings endpoint and a reranker on loopback, with the shapes of OpenAI and of Cohere."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web

# Words that mean the same have the same axis.
AXES = (("car", "vehicle", "automobile"), ("refund", "money back"), ("hours", "open"), ("dog", "puppy"))


def vector_of(text: str) -> list[float]:
    return [float(sum(text.lower().count(word) for word in words)) for words in AXES]


class ModelEndpoints:
    def __init__(self) -> None:
        self.base_url = ""
        self.status = 200
        self.garbled = False
        # Numbers that another model's vectors have more.
        self.padding = 0
        self.batches: list[list[str]] = []
        self.reranked: list[dict[str, Any]] = []
        self.keys: list[str | None] = []
        self.before_answer: Callable[[], None] = lambda: None

    @property
    def embedded(self) -> list[str]:
        return [text for batch in self.batches for text in batch]

    async def embeddings(self, request: web.Request) -> web.Response:
        order = await request.json()
        self.keys.append(request.headers.get("authorization"))
        self.batches.append(order["input"])
        self.before_answer()
        if self.garbled:
            return web.json_response({"data": [{"index": 0}]})
        # The order of the rows is not promised.
        rows = [
            {"index": index, "embedding": [*vector_of(text), *[0.0] * self.padding]}
            for index, text in enumerate(order["input"])
        ]
        return web.json_response({"data": rows[::-1]}, status=self.status)

    async def rerank(self, request: web.Request) -> web.Response:
        order = await request.json()
        self.reranked.append(order)
        # The last document is the best one.
        rows = [{"index": index, "relevance_score": index / 100} for index in range(len(order["documents"]))]
        return web.json_response({"results": rows}, status=self.status)


@asynccontextmanager
async def model_endpoints(port: int = 0) -> AsyncIterator[ModelEndpoints]:
    endpoints = ModelEndpoints()
    app = web.Application()
    app.add_routes([web.post("/v1/embeddings", endpoints.embeddings), web.post("/v1/rerank", endpoints.rerank)])
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", port)
    await site.start()
    host, bound = runner.addresses[0][:2]
    endpoints.base_url = f"http://{host}:{bound}/v1"
    try:
        yield endpoints
    finally:
        await runner.cleanup()
