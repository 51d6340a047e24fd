"""A server that speaks MongoDB's protocol and says of itself what a test wants. It stores nothing."""

import asyncio
import struct
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import bson

_HEADER: Final = struct.Struct("<iiii")
_OP_REPLY, _OP_QUERY, _OP_MSG = 1, 2004, 2013
_WIRE: Final = {"minWireVersion": 0, "maxWireVersion": 21, "maxBsonObjectSize": 16 << 20}
_SIZES: Final = {"maxMessageSizeBytes": 48_000_000, "maxWriteBatchSize": 100_000, "isWritablePrimary": True}


@asynccontextmanager
async def plain_server(answers: Mapping[str, Mapping[str, Any]], *, clock_ahead_s: float = 0.0) -> AsyncIterator[str]:
    """Its URI. `answers`: by command, what is added to `ok: 1`."""
    writers = list[asyncio.StreamWriter]()

    def answer(command: Mapping[str, Any]) -> dict[str, Any]:
        name = next(iter(command))
        if name.lower() in ("hello", "ismaster"):
            moment = datetime.now(UTC) + timedelta(seconds=clock_ahead_s)
            return {"ok": 1, **_WIRE, **_SIZES, "localTime": moment, **answers.get("hello", {})}
        return {"ok": 1, **answers.get(name, {})}

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        try:
            while True:
                size, number, _, code = _HEADER.unpack(await reader.readexactly(_HEADER.size))
                writer.write(_reply(number, code, await reader.readexactly(size - _HEADER.size), answer))
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"mongodb://127.0.0.1:{server.sockets[0].getsockname()[1]}/?directConnection=true&retryWrites=false"
    finally:
        server.close()
        for writer in writers:
            writer.close()
        await server.wait_closed()


def _reply(number: int, code: int, body: bytes, answer: Any) -> bytes:
    if code == _OP_QUERY:  # The driver's first hello. Flags, the collection's name, two numbers, then the document.
        start = body.index(b"\0", 4) + 1 + 8
        payload, code = (
            struct.pack("<iqii", 8, 0, 0, 1) + bson.encode(answer(bson.decode(_document(body, start)))),
            _OP_REPLY,
        )
    else:  # Flags, then a section of kind 0 with the document.
        payload = struct.pack("<iB", 0, 0) + bson.encode(answer(bson.decode(_document(body, 5))))
    return _HEADER.pack(_HEADER.size + len(payload), 0, number, code) + payload


def _document(body: bytes, start: int) -> bytes:
    (size,) = struct.unpack_from("<i", body, start)
    return body[start : start + size]
