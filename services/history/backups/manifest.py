"""The manifest: what a backup is made of. It is written last, so a folder without one is no backup.

The file has two lines: the manifest as JSON, and the SHA-256 of that line.
"""

import hashlib
from pathlib import Path
from typing import Annotated, Any, Final

import orjson
from pydantic import Field, StringConstraints, ValidationError

from services.history.backups.faults import BackupFault
from services.history.backups.files import written
from services.history.mongo.migrations import STEPS
from shared.contracts.schema import Schema, Time

FORMAT: Final = 1
MANIFEST: Final = "manifest.json"

# A manifest may come from a stranger: no name leads out of the folder, or to something that is no file.
ListName = Annotated[str, StringConstraints(pattern=r"^[a-z_]+-\d+\.ndjson\.gz$")]
BlobName = Annotated[str, StringConstraints(pattern=r"^blobs/\d+/\d+$")]


class BackupFile(Schema):
    """Up to some ten thousand documents of one collection, in the order of their ids. Digest and size: of the file."""

    name: ListName
    collection: str
    documents: int
    size: int
    sha256: str


class BlobFile(Schema):
    """The bytes of one blob, as they are."""

    name: BlobName
    blob: str
    size: int
    sha256: str


class Manifest(Schema):
    """`schema_versions`: the newest of each collection's documents. `blob_lists`: files whose lines are BlobFiles."""

    format: int
    id: str
    release: str
    started_at: Time
    completed_at: Time
    schema_versions: dict[str, int]
    counts: dict[str, int]
    files: tuple[BackupFile, ...]
    blob_lists: tuple[BackupFile, ...] = Field(default=())


def write_manifest(folder: Path, manifest: Manifest) -> None:
    line = orjson.dumps(manifest.wire())
    written(folder / MANIFEST, line + b"\n" + hashlib.sha256(line).hexdigest().encode() + b"\n")


def read_manifest(folder: Path) -> Manifest:
    """Raises BackupFault: no backup, a damaged one, or one of a later release."""
    found = _signed_line(folder)
    path = folder / MANIFEST
    if not isinstance(found, dict) or not isinstance(found.get("format"), int):
        raise _damaged(path)
    if found["format"] > FORMAT:
        later = f"{folder} has format {found['format']} and this release reads up to {FORMAT}"
        raise BackupFault(f"{later}: restore it with release {found.get('release', 'of its making')} or a later one")
    try:
        manifest = Manifest.model_validate(found)
    except ValidationError:
        raise _damaged(path) from None
    for collection, version in manifest.schema_versions.items():
        known = len(STEPS.get(collection, ()))
        if version > known:
            newer = f"{folder} holds {collection} of schema version {version} and this release writes {known}"
            raise BackupFault(f"{newer}: restore it with release {manifest.release} or a later one")
    return manifest


def _signed_line(folder: Path) -> Any:
    """The JSON of the manifest's first line, which has the digest of the second. Raises BackupFault."""
    path = folder / MANIFEST
    try:
        line, digest, _ = path.read_bytes().split(b"\n")
        found = orjson.loads(line)
    except FileNotFoundError:
        raise BackupFault(f"{folder} is no backup: it has no {MANIFEST}") from None
    except NotADirectoryError:
        raise BackupFault(f"{folder} is no folder: unpack it, and name the folder that has {MANIFEST}") from None
    except OSError as error:
        raise BackupFault(f"{path} cannot be read: {error.strerror}") from None
    except ValueError:
        raise _damaged(path) from None
    if hashlib.sha256(line).hexdigest().encode() != digest:
        raise _damaged(path)
    return found


def _damaged(path: Path) -> BackupFault:
    return BackupFault(f"{path} is damaged: take another copy of this backup")
