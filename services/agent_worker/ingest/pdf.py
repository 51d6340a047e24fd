"""PDF as blocks: the text layer, page by page."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import pypdfium2  # type: ignore[import-untyped]

from services.agent_worker.ingest.blocks import Block, Document, Unreadable

MAX_PAGES: Final = 2_000
_PASSWORD: Final = 4  # FPDF_ERR_PASSWORD
_PARAGRAPH: Final = re.compile(r"\n[ \t]*\n+|(?<=[.!?:。])\n(?=[A-ZÀ-Þ0-9•])")
_HYPHEN: Final = re.compile(r"(?<=\w)[-\xad\ufffe\x02]\n(?=[a-zß-ÿ])")
# Fewer characters on a page are page numbers and stamps.
_FEWEST: Final = 20
_REPORT_PAGES: Final = 10


def read_pdf(path: Path, on_page: Callable[[int], None] = lambda pages: None) -> Document:
    document = _opened(path)
    count = len(document)
    if count > MAX_PAGES:
        raise Unreadable(f"It has {count:,} pages; at most {MAX_PAGES:,} are read. Split it.")
    texts: list[str] = []
    for index in range(count):
        texts.append(_page_text(document, index))
        if len(texts) % _REPORT_PAGES == 0:
            on_page(len(texts))
    if not any(len(text.strip()) >= _FEWEST for text in texts):
        raise Unreadable("It is a scanned PDF without a text layer. Run text recognition (OCR) over it first.")
    blocks = [
        Block("text", " ".join(paragraph.split()), page=number)
        for number, text in enumerate(texts, 1)
        for paragraph in _PARAGRAPH.split(_HYPHEN.sub("", text))
        if paragraph.strip()
    ]
    return Document(blocks, title=_title(document), pages=count)


def _opened(path: Path) -> Any:
    try:
        return pypdfium2.PdfDocument(path)
    except pypdfium2.PdfiumError as error:
        if "password" in str(error).lower() or getattr(error, "err_code", None) == _PASSWORD:
            raise Unreadable("It is encrypted. Remove its password and upload it again.") from None
        raise Unreadable("It is damaged: it cannot be opened as a PDF.") from None


def _page_text(document: Any, index: int) -> str:
    """A page that cannot be read is left out; the others count."""
    try:
        page = document[index]
        text: str = page.get_textpage().get_text_bounded()
        page.close()
    except pypdfium2.PdfiumError:
        return ""
    return text.replace("\r\n", "\n").replace("\r", "\n").replace("\0", "")


def _title(document: Any) -> str:
    try:
        title: str = document.get_metadata_value("Title")
    except pypdfium2.PdfiumError:
        return ""
    return " ".join(title.replace("\0", "").split())
