"""Bodies that are never held whole: uploads in pieces, and answers that are written as they are read."""

from collections.abc import AsyncIterator

from aiohttp import web


async def body_of(request: web.Request) -> AsyncIterator[bytes]:
    async for piece in request.content.iter_chunked(256 << 10):
        yield piece


async def streamed(request: web.Request, content: AsyncIterator[bytes]) -> web.StreamResponse:
    """Raises what `content` raises before its first piece, so that the caller gets an error and no empty file."""
    response = web.StreamResponse(headers={"Content-Type": "application/octet-stream"})
    async for piece in content:
        if not response.prepared:
            await response.prepare(request)
        await response.write(piece)
    if not response.prepared:
        await response.prepare(request)
    await response.write_eof()
    return response
