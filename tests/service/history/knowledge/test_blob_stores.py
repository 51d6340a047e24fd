"""What every blob store promises, wherever its bytes are."""

import os
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest

from services.history.knowledge.blobs import BlobStore
from services.history.knowledge.s3_blobs import PART, S3Blobs, s3_blobs_of
from services.history.settings import HistorySettings
from shared.contracts.errors import ApiError, Code
from tests.conftest import eventually
from tests.service.history.conftest import is_ready
from tests.service.history.knowledge import s3_server
from tests.service.history.knowledge.conftest import ingesting
from tests.service.history.knowledge.s3_server import S3Server
from tests.service.history.knowledge.sources import Knowledge
from tests.service.history.knowledge.test_sources import MANUAL
from tests.service.history.running import TOKEN, History, running, settings_for

S3_SETTINGS = {
    "s3_bucket": s3_server.BUCKET,
    "s3_region": s3_server.REGION,
    "s3_prefix": "parley",
    "s3_access_key_id": s3_server.KEY_ID,
    "s3_secret_access_key": s3_server.SECRET,
}


@pytest.fixture
async def s3() -> AsyncIterator[S3Server]:
    async with s3_server.s3_server() as server:
        server.page = 2
        yield server


def s3_settings(server: S3Server, **changed: str) -> HistorySettings:
    return HistorySettings(internal_token=TOKEN, s3_endpoint=server.endpoint, **(S3_SETTINGS | changed))  # type: ignore[arg-type]


@pytest.fixture(params=["gridfs", "s3"])
def blobs(request: pytest.FixtureRequest) -> BlobStore:
    if request.param == "gridfs":
        history: History = request.getfixturevalue("history")
        return history.dependencies.database.blobs
    return s3_blobs_of(s3_settings(request.getfixturevalue("s3")))


def sized(blobs: BlobStore, size: int) -> int:
    """All tests share one embedded database, whose cache is small: it gets an eighth."""
    return size if isinstance(blobs, S3Blobs) else size // 8


async def pieces(*parts: bytes, fault: Exception | None = None) -> AsyncIterator[bytes]:
    for part in parts:
        yield part
    if fault is not None:
        raise fault


async def content(blobs: BlobStore, blob_id: str) -> bytes:
    return b"".join([piece async for piece in blobs.read(blob_id)])


async def is_absent(blobs: BlobStore, blob_id: str) -> bool:
    with pytest.raises(ApiError) as caught:
        await content(blobs, blob_id)
    return caught.value.code is Code.NOT_FOUND


@pytest.mark.parametrize("sizes", [[], [0], [5, 0, 7], [PART], [PART - 1, 1, 1], [3 << 20] * 6])
async def test_what_is_stored_is_read_whatever_its_size(blobs: BlobStore, sizes: list[int]) -> None:
    parts = [os.urandom(sized(blobs, size)) for size in sizes]
    await blobs.put("acme:src_1", pieces(*parts))
    assert await content(blobs, "acme:src_1") == b"".join(parts)


@pytest.mark.parametrize("size", [100, 3 * PART])
async def test_an_upload_that_fails_stores_nothing_and_tells_its_own_error(blobs: BlobStore, size: int) -> None:
    with pytest.raises(ApiError) as caught:
        await blobs.put(
            "acme:src_1", pieces(bytes(sized(blobs, size)), fault=ApiError(Code.PAYLOAD_TOO_LARGE, "Too large."))
        )
    assert caught.value.code is Code.PAYLOAD_TOO_LARGE
    assert await is_absent(blobs, "acme:src_1")


async def test_a_deleted_blob_is_gone_and_deleting_may_be_repeated(blobs: BlobStore) -> None:
    await blobs.put("acme:src_1", pieces(b"one"))
    await blobs.put("acme:src_2", pieces(b"two"))
    for _ in range(2):
        await blobs.delete("acme:src_1")
    assert await is_absent(blobs, "acme:src_1")
    assert await content(blobs, "acme:src_2") == b"two"


async def test_a_workspaces_blobs_are_listed_and_no_others(blobs: BlobStore) -> None:
    mine = [f"acme:src_{number}" for number in range(5)]
    for blob_id in (*mine, "acm:src_1", "acme-2:src_1", "acme0:src_1", "z:src_1"):
        await blobs.put(blob_id, pieces(b"x"))
    assert sorted(await blobs.of_workspace("acme", 100)) == mine
    assert len(set(await blobs.of_workspace("acme", 3))) == 3
    assert await blobs.of_workspace("other", 100) == []


async def test_old_blobs_are_listed_page_by_page_in_the_order_of_their_ids(blobs: BlobStore) -> None:
    ids = sorted(["acme:src_1", "acme:src_2", "acme0:src_1", "acme-2:src_1", "z:src_1"])
    for blob_id in ids:
        await blobs.put(blob_id, pieces(b"x"))
    now = datetime.now(UTC)
    assert await blobs.older_than(now - timedelta(hours=1), "", 100) == []
    found: list[str] = []
    while page := await blobs.older_than(now + timedelta(hours=1), found[-1] if found else "", 2):
        assert len(page) <= 2
        found += page
    assert found == ids


async def test_a_failed_upload_leaves_no_parts_in_s3(s3: S3Server) -> None:
    blobs = s3_blobs_of(s3_settings(s3))
    with pytest.raises(ValueError, match="cut off"):
        await blobs.put("acme:src_1", pieces(bytes(3 * PART), fault=ValueError("cut off")))
    assert (s3.objects, s3.uploads) == ({}, {})
    assert any("uploadId" in request for request in s3.requests)


async def test_an_s3_store_that_fails_is_an_unavailable_dependency(s3: S3Server) -> None:
    blobs = s3_blobs_of(s3_settings(s3))
    s3.status = 500
    for operation in (
        blobs.put("acme:src_1", pieces(b"x")),
        content(blobs, "acme:src_1"),
        blobs.delete("acme:src_1"),
        blobs.of_workspace("acme", 1),
    ):
        with pytest.raises(ApiError) as caught:
            await operation
        assert caught.value.code is Code.DEPENDENCY_UNAVAILABLE


async def test_a_bucket_that_does_not_exist_is_an_unavailable_dependency(s3: S3Server) -> None:
    blobs = s3_blobs_of(s3_settings(s3, s3_bucket="another"))
    for operation in (
        blobs.put("acme:src_1", pieces(b"x")),
        blobs.put("acme:src_1", pieces(bytes(2 * PART))),
        blobs.of_workspace("acme", 1),
        blobs.older_than(datetime.now(UTC), "", 1),
    ):
        with pytest.raises(ApiError) as caught:
            await operation
        assert caught.value.code is Code.DEPENDENCY_UNAVAILABLE


async def test_requests_to_s3_are_signed_with_the_settings_key(s3: S3Server) -> None:
    blobs = s3_blobs_of(s3_settings(s3, s3_secret_access_key="another secret"))
    with pytest.raises(ApiError) as caught:
        await blobs.put("acme:src_1", pieces(b"x"))
    assert caught.value.code is Code.DEPENDENCY_UNAVAILABLE
    assert (s3.refused, s3.objects) == (1, {})


async def test_a_source_lives_and_dies_in_the_bucket(s3: S3Server, mongodb_uri: str, redis_url: str) -> None:
    settings = settings_for(mongodb_uri, redis_url).model_copy(
        update={name: value for name, value in dict(s3_settings(s3)).items() if name.startswith("s3_")}
    )
    async with running(settings) as history:
        await eventually(lambda: is_ready(history), within_s=20.0, what="a ready history")
        async with ingesting(history):
            knowledge = await Knowledge.of_new_agent(history)
            source = await knowledge.ended(await knowledge.file("manual.md", MANUAL))
            assert list(s3.objects) == [f"parley/acme:{source.id}"]
            assert await knowledge.left_of(source) == ["sources", "passages"]
            await knowledge.delete(source)
            assert s3.objects == {}
