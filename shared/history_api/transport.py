"""One connection pool to the histories, and how a call moves to the next of them when one fails."""

import asyncio
from collections.abc import Sequence
from types import TracebackType
from typing import Any, Self

import aiohttp
import orjson

from shared.contracts.errors import ApiError, Code

Query = dict[str, str] | Sequence[tuple[str, str]]


class Transport:
    """See HistoryClient. The calls of each noun are a subclass."""

    def __init__(self, urls: Sequence[str], token: str, *, timeout_s: float = 5.0) -> None:
        self._urls = [url.rstrip("/") for url in urls]
        self._headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        self._timeout = aiohttp.ClientTimeout(total=timeout_s, connect=1.0)
        self._session: aiohttp.ClientSession | None = None
        self._preferred = 0

    async def __aenter__(self) -> Self:
        connector = aiohttp.TCPConnector(limit=100, keepalive_timeout=15.0)
        self._session = aiohttp.ClientSession(connector=connector, headers=self._headers, timeout=self._timeout)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._session is not None:
            await self._session.close()

    async def ready(self) -> None:
        """Raises unless a history answers that it is ready.

        A check waits for less time than a call, and cancels this. Then the next check asks another history: a process
        that is not ready gets no traffic, so nothing else would make it leave a silent history.
        """
        asked = self._preferred
        try:
            await self._get("/readyz")
        except asyncio.CancelledError:
            self._leave(asked)
            raise

    async def _get(self, path: str, query: dict[str, str] | None = None) -> Any:
        return await self._call("GET", path, None, query)

    async def _page(self, path: str, query: dict[str, str]) -> dict[str, Any]:
        page: dict[str, Any] = await self._get(path, query)
        return page

    async def _post(self, path: str, body: Any) -> Any:
        return await self._call("POST", path, body)

    async def _call(self, method: str, path: str, body: Any = None, query: Query | None = None) -> Any:
        raw = orjson.dumps(body) if body is not None else None
        first = self._preferred
        for index in (first, self._after(first)):
            try:
                return await self._exchange(self._urls[index], method, path, raw, query)
            except (aiohttp.ClientConnectionError, aiohttp.ClientPayloadError):
                self._leave(index)
            except TimeoutError:
                # The other histories stand before the same store; but the next call should not wait for this one again.
                self._leave(index)
                break
        raise ApiError(Code.DEPENDENCY_UNAVAILABLE, "The history service does not answer.")

    def _after(self, index: int) -> int:
        return (index + 1) % len(self._urls)

    def _leave(self, index: int) -> None:
        """Many calls fail at once when a history is lost: only the first of them moves the preference, or the second
        moves it back.
        """
        if self._preferred == index:
            self._preferred = self._after(index)

    async def _exchange(self, base: str, method: str, path: str, raw: bytes | None, query: Query | None) -> Any:
        assert self._session is not None, "use the client inside `async with`"
        async with self._session.request(method, base + path, data=raw, params=query) as response:
            payload = await response.read()
        value = orjson.loads(payload) if payload else None
        if response.status >= 400:
            raise ApiError.from_problem(value if isinstance(value, dict) else {})
        return value
