"""A file in a multipart body, streamed on to history while it arrives: this process never holds it."""

import asyncio
from collections.abc import AsyncIterator, Awaitable
from pathlib import PurePath
from typing import Final, TypeVar

from aiohttp import BodyPartReader, MultipartReader, web

from shared.contracts.errors import ApiError, Code
from shared.contracts.knowledge import MAX_UPLOAD

T = TypeVar("T")
CHUNK: Final = 64 << 10
IDLE_S: Final = 30.0
MAX_FIELD: Final = 4 << 10
MAX_FIELDS: Final = 40
_OLE: Final = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
FORMATS: Final = "PDF, DOCX, XLSX, HTML, Markdown, CSV and plain text"
_INSTEAD: Final = {
    ".doc": ".docx",
    ".dot": ".docx",
    ".rtf": ".docx",
    ".odt": ".docx",
    ".pages": ".docx",
    ".xls": ".xlsx",
    ".xlsb": ".xlsx",
    ".ods": ".xlsx",
    ".numbers": ".xlsx",
    ".ppt": ".pdf",
    ".pptx": ".pdf",
    ".odp": ".pdf",
    ".epub": ".html",
}
_NEVER: Final = frozenset(
    ".png .jpg .jpeg .gif .webp .tif .tiff .bmp .mp3 .wav .mp4 .mov .avi .zip .gz .tar .7z .rar .exe .dll .so".split()
)


class Form:
    """The fields of a form, read up to its file; `rest` reads those that come after it."""

    def __init__(self, request: web.Request) -> None:
        self.fields: list[tuple[str, str]] = []
        self._request = request
        self._reader: MultipartReader | None = None

    async def file(self) -> BodyPartReader | None:
        """The first part that is a file. None: there is no further one."""
        try:
            if self._reader is None:
                self._reader = await self._request.multipart()
            while (part := await _within(self._reader.next())) is not None:
                if not isinstance(part, BodyPartReader):
                    raise ApiError(Code.INVALID_REQUEST, "A part of the form must not be multipart itself.")
                if part.filename is not None:
                    return part
                await self._field(part)
        except ValueError:
            raise ApiError(Code.INVALID_REQUEST, "The body is not a valid multipart form.") from None
        return None

    async def _field(self, part: BodyPartReader) -> None:
        value = b""
        while piece := await _within(part.read_chunk(CHUNK)):
            value += piece
            if len(value) > MAX_FIELD or len(self.fields) >= MAX_FIELDS:
                raise ApiError(Code.PAYLOAD_TOO_LARGE, "The form has too many fields, or a field is too long.")
        self.fields.append((part.name or "", value.decode("utf-8", "replace").replace("\0", "")))

    async def rest(self) -> None:
        if await self.file() is not None:
            raise ApiError(Code.INVALID_REQUEST, "A form holds one file.", param="file")


def checked_name(part: BodyPartReader) -> str:
    """The file's name without folders. Raises `unsupported_media_type` for formats that cannot be read."""
    name = PurePath((part.filename or "").replace("\\", "/").replace("\0", "")).name[:500] or "file"
    ending = PurePath(name.lower()).suffix
    if (instead := _INSTEAD.get(ending)) is not None:
        raise _unsupported(f"{ending} is not supported; save it as {instead}. Supported are {FORMATS}.")
    if ending in _NEVER:
        raise _unsupported(f"{ending} is not supported. Supported are {FORMATS}.")
    return name


async def content_of(part: BodyPartReader, name: str) -> AsyncIterator[bytes]:
    """Raises `request_timeout` after a silence, `payload_too_large`, `unsupported_media_type`, `invalid_request`."""
    size = 0
    try:
        while piece := await _within(part.read_chunk(CHUNK)):
            if not size and piece.startswith(_OLE) and not name.lower().endswith((".docx", ".xlsx")):
                raise _unsupported(
                    f"Old Office formats are not supported; save it as .docx or .xlsx. Supported are {FORMATS}."
                )
            size += len(piece)
            if size > MAX_UPLOAD:
                raise ApiError(Code.PAYLOAD_TOO_LARGE, f"A file may have at most {MAX_UPLOAD >> 20} MiB.")
            yield piece
    except ValueError:
        raise ApiError(Code.INVALID_REQUEST, "The body is not a valid multipart form.") from None


async def _within(call: Awaitable[T]) -> T:
    """The next piece of the body. The limit is on silence, not on the whole upload."""
    try:
        async with asyncio.timeout(IDLE_S):
            return await call
    except TimeoutError:
        raise ApiError(Code.REQUEST_TIMEOUT, headers={"Connection": "close"}) from None


def _unsupported(message: str) -> ApiError:
    return ApiError(Code.UNSUPPORTED_MEDIA_TYPE, message, param="file", headers={"Connection": "close"})
