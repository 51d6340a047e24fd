"""Blobs in an S3-compatible store, in place of GridFS. Needs obstore (requirements-s3)."""

import re
from collections.abc import AsyncIterator, Awaitable
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Final, TypeVar

import obstore
from obstore.exceptions import BaseError, NotFoundError
from obstore.store import S3Store

from services.history.settings import HistorySettings
from shared.contracts.errors import ApiError, Code
from shared.log import get_logger

log = get_logger()
T = TypeVar("T")

# A smaller blob is one request, a larger one is uploaded in parts of this size. S3 takes no smaller parts.
PART: Final = 8 << 20
PIECE: Final = 1 << 20
# All parts of a source (25 MiB) under way at once would hold all of it in memory.
PARTS_AT_ONCE: Final = 2
_PAGE: Final = 500
CONNECT_TIMEOUT_S: Final = 2
# Of one request: a part of 8 MiB over a slow line.
REQUEST_TIMEOUT_S: Final = 60
# A caller of history waits as long as for a lost MongoDB, and repeats.
RETRY_S: Final = 5
RETRIES: Final = 2
# What of an error's text may be logged. The rest has the address and the whole answer.
_STATUS: Final = re.compile(r"status code: (\d{3})")
_CODE: Final = re.compile(r"<Code>([A-Za-z]{1,50})</Code>")


class S3Blobs:
    """See BlobStore. A blob exists once its upload is complete; the client aborts an upload that fails.

    A process that dies inside an upload leaves parts that no listing shows. The bucket's rule for incomplete multipart
    uploads removes them.
    """

    def __init__(self, store: S3Store) -> None:
        self._store = store

    async def put(self, blob_id: str, content: AsyncIterator[bytes]) -> None:
        first = bytearray()
        async for piece in content:
            first += piece
            if len(first) >= PART:
                break
        else:
            await _answered(obstore.put_async(self._store, blob_id, bytes(first), use_multipart=False))
            return
        pieces = _joined(bytes(first), content)
        await _answered(obstore.put_async(self._store, blob_id, pieces, chunk_size=PART, max_concurrency=PARTS_AT_ONCE))

    async def read(self, blob_id: str) -> AsyncIterator[bytes]:
        try:
            found = await _found(obstore.get_async(self._store, blob_id))
        except FileNotFoundError:
            raise ApiError(Code.NOT_FOUND, "The content has been erased.") from None
        pieces = found.stream(PIECE)
        while (piece := await _answered(anext(pieces, None))) is not None:
            yield bytes(piece)

    async def delete(self, blob_id: str) -> None:
        with suppress(FileNotFoundError):
            await _found(obstore.delete_async(self._store, blob_id))

    async def of_workspace(self, workspace: str, limit: int) -> list[str]:
        found: list[str] = []
        async for blob_id, _ in self._above(f"{workspace}:"):
            if not blob_id.startswith(f"{workspace}:") or len(found) == limit:
                break
            found.append(blob_id)
        return found

    async def older_than(self, moment: datetime, after: str, limit: int) -> list[str]:
        found: list[str] = []
        async for blob_id, stored in self._above(after):
            if stored < moment:
                found.append(blob_id)
            if len(found) == limit:
                break
        return found

    async def cut_off(self, moment: datetime) -> AsyncIterator[str]:
        """None: see above."""
        none: tuple[str, ...] = ()
        for blob_id in none:
            yield blob_id

    async def _above(self, after: str) -> AsyncIterator[tuple[str, datetime]]:
        """Ids and moments of all blobs above an id, in the order of their ids: S3 lists by UTF-8 bytes."""
        pages = obstore.list(self._store, offset=after or None, chunk_size=_PAGE)
        while page := await _answered(anext(pages, None)):
            for blob in page:
                yield blob["path"], blob["last_modified"]


def s3_blobs_of(settings: HistorySettings) -> S3Blobs:
    """Without a key of ours, the client takes AWS' own variables or the machine's role."""
    keys = {
        "access_key_id": settings.s3_access_key_id,
        "secret_access_key": settings.s3_secret_access_key.get_secret_value(),
        "endpoint": settings.s3_endpoint,
        "region": settings.s3_region,
        "prefix": settings.s3_prefix,
    }
    store = S3Store(
        settings.s3_bucket,
        **{name: value for name, value in keys.items() if value},  # type: ignore[arg-type]  # each is optional
        client_options={
            "allow_http": settings.s3_endpoint.startswith("http://"),
            "connect_timeout": timedelta(seconds=CONNECT_TIMEOUT_S),
            "timeout": timedelta(seconds=REQUEST_TIMEOUT_S),
        },
        retry_config={"max_retries": RETRIES, "retry_timeout": timedelta(seconds=RETRY_S)},
    )
    return S3Blobs(store)


async def _joined(first: bytes, rest: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    yield first
    async for piece in rest:
        yield piece


async def _answered(operation: Awaitable[T]) -> T:
    """Of an operation that needs no blob to be there: what is not found is the bucket."""
    try:
        return await _found(operation)
    except FileNotFoundError as error:
        raise _unavailable(error) from None


async def _found(operation: Awaitable[T]) -> T:
    """Raises ApiError(`dependency_unavailable`) for every fault of the store; FileNotFoundError for a missing blob."""
    try:
        return await operation
    except NotFoundError as error:
        raise FileNotFoundError from error
    except BaseError as error:
        raise _unavailable(error) from None


def _unavailable(error: Exception) -> ApiError:
    """The log tells a bucket that does not exist (404) and a key that is refused (403) from a store that is away."""
    said = str(error)
    status, code = _STATUS.search(said), _CODE.search(said)
    log.warning(
        "blob_store_failed",
        error=type(error).__name__,
        status=int(status[1]) if status else None,
        code=code[1] if code else None,
    )
    return ApiError(Code.DEPENDENCY_UNAVAILABLE, "The blob store does not answer.")
