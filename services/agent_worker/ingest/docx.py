"""DOCX: turned into HTML, then read as such. Its container is checked before anything in it is unpacked."""

from pathlib import Path
from typing import Any

import mammoth  # type: ignore[import-untyped]

from services.agent_worker.ingest.blocks import Document, Unreadable
from services.agent_worker.ingest.html import read_html
from services.agent_worker.ingest.office import check_container


def read_docx(path: Path) -> Document:
    check_container(path)
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
