"""One connection pool to the histories, and how a call moves to the next of them when one fails."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Sequence
from types import TracebackType
from typing import Any, BinaryIO, Final, Self

import aiohttp
import orjson

from shared.contracts.errors import ApiError, Code
from shared.tracing import spans
from shared.web.middleware import CALLERS_REQUEST_ID
from shared.web.origin import request_id

Query = dict[str, str] | Sequence[tuple[str, str]]


# Of uploads and downloads: a silence of this length ends them.
_STREAMED: Final = aiohttp.ClientTimeout(total=600.0, connect=1.0, sock_read=60.0)


class Transport:
    """See HistoryClient. The calls of each noun are a subclass."""

    def __init__(
        self, urls: Sequence[str], token: str, *, timeout_s: float = 5.0, tls: ssl.SSLContext | None = None
    ) -> None:
        self._urls = [url.rstrip("/") for url in urls]
        self._headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        self._timeout = aiohttp.ClientTimeout(total=timeout_s, connect=1.0)
        self._tls = tls if tls is not None else True
        self._session: aiohttp.ClientSession | None = None
        self._preferred = 0

    async def __aenter__(self) -> Self:
        connector = aiohttp.TCPConnector(limit=100, keepalive_timeout=15.0, ssl=self._tls)
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

    async def _upload(self, path: str, content: AsyncIterator[bytes]) -> Any:
        """Sends bytes as they come. Not repeated: they are gone. Errors of `content` pass through."""
        raised: list[BaseException] = []

        async def watched() -> AsyncIterator[bytes]:
            try:
                async for piece in content:
                    yield piece
            except BaseException as error:
                raised.append(error)
                raise

        index = self._preferred
        try:
            return await self._exchange(self._urls[index], "PUT", path, watched(), None, _STREAMED)
        except (aiohttp.ClientError, TimeoutError, ConnectionError):
            if raised:
                raise raised[0] from None
            self._leave(index)
        raise ApiError(Code.DEPENDENCY_UNAVAILABLE, "The history service does not answer.")

    async def _download(self, path: str, file: BinaryIO) -> None:
        """Writes the answer's bytes into the file. Raises `dependency_unavailable` for an answer that breaks off."""
        assert self._session is not None, "use the client inside `async with`"
        index = self._preferred
        try:
            async with self._session.get(self._urls[index] + path, timeout=_STREAMED) as response:
                if response.status >= 400:
                    raise ApiError.from_problem(orjson.loads(await response.read()))
                async for piece in response.content.iter_any():
                    await asyncio.to_thread(file.write, piece)
                return
        except (aiohttp.ClientError, TimeoutError, ConnectionError):
            self._leave(index)
        raise ApiError(Code.DEPENDENCY_UNAVAILABLE, "The history service does not answer.")

    async def _call(
        self, method: str, path: str, body: Any = None, query: Query | None = None, *, again: Any = None
    ) -> Any:
        """`again`: the body of the repetition, where it must not be the same. The first try may still be at work."""
        first = self._preferred
        for index, each in ((first, body), (self._after(first), again or body)):
            raw = orjson.dumps(each) if each is not None else None
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

    async def _exchange(
        self,
        base: str,
        method: str,
        path: str,
        raw: bytes | AsyncIterator[bytes] | None,
        query: Query | None,
        timeout: aiohttp.ClientTimeout | None = None,
    ) -> Any:
        assert self._session is not None, "use the client inside `async with`"
        async with self._session.request(
            method, base + path, data=raw, params=query, headers=_headers(), timeout=timeout or self._timeout
        ) as response:
            payload = await response.read()
        value = orjson.loads(payload) if payload else None
        if response.status >= 400:
            raise ApiError.from_problem(value if isinstance(value, dict) else {})
        return value


def _headers() -> dict[str, str] | None:
    """History's logs, audit and spans name the public request that a call belongs to."""
    found = request_id()
    return ({} if found is None else {CALLERS_REQUEST_ID: found}) | spans.headers() or None
