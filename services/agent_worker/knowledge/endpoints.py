"""The operator's endpoints for retrieval: embeddings (OpenAI's shape) and reranking (Cohere's and Jina's shape)."""

import asyncio
from collections.abc import Sequence
from typing import Any, Final

import aiohttp
import orjson

from shared.log import get_logger

log = get_logger()

BATCH: Final = 64
# 64 vectors of 4,096 numbers as JSON text take some 6 MiB.
_MAX_ANSWER: Final = 32 << 20
# After a fault the endpoint is left alone for so long: turns do not wait for its time-out one after the other.
PAUSE_S: Final = 10.0


class EndpointFault(Exception):
    """The endpoint did not answer, or answered something else than was asked for."""


class JsonEndpoint:
    """One URL that is sent JSON with a key. Opened on first use; close it."""

    def __init__(self, url: str, api_key: str) -> None:
        self._url = url
        self._headers = {"authorization": f"Bearer {api_key}"} if api_key else {}
        self._session: aiohttp.ClientSession | None = None
        self._paused_until = 0.0

    async def post(self, order: dict[str, Any], timeout_s: float) -> Any:
        """The answer's JSON. Raises EndpointFault, at once while the endpoint is left alone after a fault."""
        clock = asyncio.get_running_loop().time
        if clock() < self._paused_until:
            raise EndpointFault("paused")
        try:
            async with asyncio.timeout(timeout_s):
                return await self._answer(order)
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
            self._paused_until = clock() + PAUSE_S
            raise EndpointFault(type(error).__name__) from error

    async def aclose(self) -> None:
        if self._session is not None:
            await self._session.close()

    async def _answer(self, order: dict[str, Any]) -> Any:
        if self._session is None:
            self._session = aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar())
        headers = {**self._headers, "content-type": "application/json"}
        async with self._session.post(
            self._url, data=orjson.dumps(order), headers=headers, allow_redirects=False
        ) as response:
            if response.status != 200:
                raise ValueError(f"status {response.status}")
            body = bytearray()
            async for chunk in response.content.iter_chunked(1 << 16):
                body += chunk
                if len(body) > _MAX_ANSWER:
                    raise ValueError("the answer is too long")
            return orjson.loads(body)


class Embeddings:
    """Vectors of texts by `POST {base_url}/embeddings`."""

    def __init__(self, base_url: str, model: str, api_key: str = "") -> None:
        self.model = model
        self._endpoint = JsonEndpoint(f"{base_url.rstrip('/')}/embeddings", api_key)

    async def embed(self, texts: Sequence[str], timeout_s: float) -> list[list[float]]:
        """One vector per text, all of one length. At most `BATCH` texts. Raises EndpointFault."""
        order = {"model": self.model, "input": list(texts), "encoding_format": "float"}
        answer = await self._endpoint.post(order, timeout_s)
        try:
            rows = {row["index"]: [float(number) for number in row["embedding"]] for row in answer["data"]}
            vectors = [rows[index] for index in range(len(texts))]
        except (TypeError, KeyError, ValueError) as error:
            raise EndpointFault("not an answer of /embeddings") from error
        if not vectors or len({len(vector) for vector in vectors}) != 1 or not vectors[0]:
            raise EndpointFault("vectors of different lengths")
        return vectors

    async def aclose(self) -> None:
        await self._endpoint.aclose()


class Reranker:
    """The order of texts for a query by `POST {url}` with `query` and `documents`."""

    def __init__(self, url: str, model: str, api_key: str = "") -> None:
        self._model = model
        self._endpoint = JsonEndpoint(url, api_key)

    async def order(self, query: str, texts: Sequence[str], timeout_s: float) -> list[int]:
        """The texts' numbers, best first; those that the endpoint leaves out come last. Raises EndpointFault."""
        order = {"model": self._model, "query": query, "documents": list(texts), "top_n": len(texts)}
        answer = await self._endpoint.post(order, timeout_s)
        try:
            found = sorted((-float(row["relevance_score"]), int(row["index"])) for row in answer["results"])
        except (TypeError, KeyError, ValueError) as error:
            raise EndpointFault("not an answer of a reranker") from error
        named = [index for _, index in found if 0 <= index < len(texts)]
        return list(dict.fromkeys([*named, *range(len(texts))]))

    async def aclose(self) -> None:
        await self._endpoint.aclose()
