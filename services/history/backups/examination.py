"""Whether a backup is what was written: every file by its digest, every list by its count."""

from collections.abc import Callable
from pathlib import Path

from services.history.backups.blob_files import BLOBS, entries_of
from services.history.backups.faults import BackupFault
from services.history.backups.files import Sum, lines_of, sum_of
from services.history.backups.manifest import Manifest, read_manifest
from services.history.backups.order import ORDER
from services.history.mongo.document_lines import document_of


def examined(folder: Path, progress: Callable[[str, int], None] = lambda name, count: None) -> Manifest:
    """Reads all of it and writes nothing. Raises BackupFault, which names the file at fault."""
    manifest = read_manifest(folder)
    counts = dict.fromkeys(manifest.counts, 0)
    if unknown := counts.keys() - {each.name for each in ORDER}:
        raise BackupFault(
            f"{folder} holds {', '.join(sorted(unknown))}, which this release does not know: "
            f"restore it with release {manifest.release} or a later one"
        )
    for file in manifest.files:
        _same(folder / file.name, Sum(file.size, file.sha256))
        counts[file.collection] += _documents(folder / file.name, file.documents)
        progress(file.collection, counts[file.collection])
    if counts != manifest.counts:
        raise BackupFault(f"{folder} does not hold the documents that its manifest counts: take another copy")
    blobs = 0
    for listed in manifest.blob_lists:
        _same(folder / listed.name, Sum(listed.size, listed.sha256))
        for entry in entries_of(folder, listed):
            _same(folder / entry.name, Sum(entry.size, entry.sha256))
            blobs += 1
        progress(BLOBS, blobs)
    return manifest


def _documents(path: Path, wanted: int) -> int:
    count = 0
    for line in lines_of(path):
        try:
            document_of(line)
        except ValueError:
            raise _fault(path, "holds a line that is no document") from None
        count += 1
    if count != wanted:
        raise _fault(path, f"holds {count} documents and should hold {wanted}")
    return count


def _same(path: Path, wanted: Sum) -> None:
    found = sum_of(path)
    if found.size != wanted.size:
        raise _fault(path, f"has {found.size} bytes and should have {wanted.size}")
    if found != wanted:
        raise _fault(path, "has other bytes than were written")


def _fault(path: Path, what: str) -> BackupFault:
    return BackupFault(f"{path} {what}: take another copy of this backup")
