"""Which format bytes have: what they are decides, and a name only says how text is marked up. Pure."""

import zipfile
from pathlib import Path
from typing import Final, Literal

from services.agent_worker.ingest.blocks import Unreadable

Format = Literal["pdf", "docx", "xlsx", "html", "markdown", "csv", "faq", "text"]
SUPPORTED: Final = "PDF, DOCX, XLSX, HTML, Markdown, CSV and plain text"
OLE: Final = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
_ENCRYPTED: Final = "EncryptedPackage".encode("utf-16-le")
_BY_ENDING: Final[dict[str, Format]] = {
    ".md": "markdown",
    ".markdown": "markdown",
    ".html": "html",
    ".htm": "html",
    ".xhtml": "html",
    ".csv": "csv",
    ".tsv": "csv",
}
_BY_TYPE: Final[dict[str, Format]] = {
    "text/html": "html",
    "application/xhtml+xml": "html",
    "text/markdown": "markdown",
    "text/csv": "csv",
}
_BINARY: Final = (
    (b"\x89PNG", "a PNG image"),
    (b"\xff\xd8\xff", "a JPEG image"),
    (b"GIF8", "a GIF image"),
    (b"RIFF", "an audio, video or image file"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"7z\xbc\xaf", "a 7z archive"),
    (b"Rar!", "a RAR archive"),
    (b"BZh", "a bzip2 archive"),
    (b"\xfd7zXZ", "an xz archive"),
    (b"\x7fELF", "a program"),
    (b"MZ", "a program"),
    (b"ID3", "an audio file"),
    (b"{\\rtf", "an RTF document; save it as .docx"),
)


def format_of(path: Path, name: str, content_type: str = "") -> Format:
    """Raises Unreadable for a format that is not supported."""
    with path.open("rb") as file:
        head = file.read(4096)
    if not head.strip(b" \t\r\n\0\xef\xbb\xbf\xff\xfe"):
        raise Unreadable("It is empty.")
    if b"%PDF-" in head[:1024]:
        return "pdf"
    if head.startswith(OLE):
        raise Unreadable(_why_not_ole(path))
    if head.startswith(b"PK\x03\x04"):
        return _inside_zip(path)
    for magic, what in _BINARY:
        if head.startswith(magic):
            raise Unreadable(f"It is {what}. Supported are {SUPPORTED}.")
    if head[:512].lstrip(b"\xef\xbb\xbf \t\r\n").lower().startswith((b"<!doctype html", b"<html")):
        return "html"
    return _BY_ENDING.get(Path(name.lower()).suffix) or _BY_TYPE.get(content_type) or "text"


def _why_not_ole(path: Path) -> str:
    """Old Office files and password-protected new ones have the same container."""
    if _ENCRYPTED in path.read_bytes():
        return "It is encrypted. Remove its password and upload it again."
    return "Old Office formats (.doc, .xls, .ppt) are not supported; save it as .docx, .xlsx or .pdf."


def _inside_zip(path: Path) -> Format:
    try:
        with zipfile.ZipFile(path) as archive:
            names = set(archive.namelist())
    # zipfile raises NotImplementedError for a compression that it does not know.
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError):
        raise Unreadable("It is damaged: its ZIP container cannot be read.") from None
    if "word/document.xml" in names:
        return "docx"
    if "xl/workbook.xml" in names:
        return "xlsx"
    if "xl/workbook.bin" in names:
        raise Unreadable("Binary spreadsheets (.xlsb) are not supported; save it as .xlsx.")
    if "ppt/presentation.xml" in names:
        raise Unreadable("Presentations (.pptx) are not supported; save it as .pdf.")
    raise Unreadable(f"It is a ZIP archive. Supported are {SUPPORTED}.")
