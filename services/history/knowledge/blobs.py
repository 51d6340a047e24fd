"""The blob store's protocol: the bytes of knowledge sources. GridFS is the default, an S3-compatible store an extra."""

from collections.abc import AsyncIterator
from datetime import datetime
from typing import Protocol


class BlobStore(Protocol):
    async def put(self, blob_id: str, content: AsyncIterator[bytes]) -> None:
        """Stores all of it or nothing. Each upload has an id of its own."""

    def read(self, blob_id: str) -> AsyncIterator[bytes]:
        """Raises `not_found`."""

    async def delete(self, blob_id: str) -> None:
        """May be repeated."""

    async def of_workspace(self, workspace: str, limit: int) -> list[str]:
        """Ids of the workspace's blobs, and of uploads that were cut off."""

    async def older_than(self, moment: datetime, after: str, limit: int) -> list[str]:
        """Ids above `after` of blobs that were stored before the moment, in the order of their ids."""

    def cut_off(self, moment: datetime) -> AsyncIterator[str]:
        """Ids of uploads that began before the moment, whose process died, and of which `older_than` does not tell."""


def blob_key(workspace: str, source_id: str) -> str:
    return f"{workspace}:{source_id}"


def source_of_blob(blob_id: str) -> tuple[str, str]:
    """The workspace and the id of the source that it was uploaded for."""
    workspace, _, source_id = blob_id.partition(":")
    return workspace, source_id
