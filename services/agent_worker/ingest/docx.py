"""DOCX: turned into HTML, then read as such. Its container is checked before anything in it is unpacked."""

import zipfile
from pathlib import Path
from typing import Any, Final

import mammoth  # type: ignore[import-untyped]

from services.agent_worker.ingest.blocks import Document, Unreadable
from services.agent_worker.ingest.html import read_html

MAX_UNPACKED: Final = 100 << 20
MAX_XML: Final = 40 << 20
MAX_MEMBERS: Final = 5_000


def read_docx(path: Path) -> Document:
    _check(path)
    try:
        with path.open("rb") as file:
            found = mammoth.convert_to_html(file, convert_image=mammoth.images.img_element(_without_image))
    except MemoryError:
        raise
    except Exception:
        raise Unreadable("It is damaged: it cannot be read as a DOCX document.") from None
    document = read_html(f"<html><body>{found.value}</body></html>")
    return Document(document.blocks, title=document.title)


def _without_image(_: Any) -> dict[str, str]:
    return {"src": ""}


def _check(path: Path) -> None:
    """A ZIP bomb says what it unpacks to; one that lies is cut off at what it said."""
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
    except (zipfile.BadZipFile, OSError, ValueError):
        raise Unreadable("It is damaged: its ZIP container cannot be read.") from None
    if any(member.flag_bits & 1 for member in members):
        raise Unreadable("It is encrypted. Remove its password and upload it again.")
    xml = sum(member.file_size for member in members if member.filename.endswith(".xml"))
    if len(members) > MAX_MEMBERS or sum(member.file_size for member in members) > MAX_UNPACKED or xml > MAX_XML:
        raise Unreadable(f"It unpacks to more than {MAX_UNPACKED >> 20} MiB, or more text than can be read.")
