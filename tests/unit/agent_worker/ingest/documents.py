"""Documents made by hand: small, and exactly as their test needs them."""

import io
import zipfile
from pathlib import Path

from services.agent_worker.ingest.blocks import Document
from services.agent_worker.ingest.extraction import Input, read_document

_TYPES = (
    '<?xml version="1.0" encoding="UTF-8"?>'
    '<Types xmlns="http://schemas.openxmlformats.org/package/2006/content-types">'
    '<Default Extension="rels" ContentType="application/vnd.openxmlformats-package.relationships+xml"/>'
    '<Override PartName="/word/document.xml" ContentType='
    '"application/vnd.openxmlformats-officedocument.wordprocessingml.document.main+xml"/></Types>'
)
_RELATIONS = (
    '<?xml version="1.0" encoding="UTF-8"?>'
    '<Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships"><Relationship Id="r1" '
    'Type="http://schemas.openxmlformats.org/officeDocument/2006/relationships/officeDocument" '
    'Target="word/document.xml"/></Relationships>'
)
_WORDS = "http://schemas.openxmlformats.org/wordprocessingml/2006/main"


def given(path: Path, name: str = "", **members: object) -> Input:
    order: dict[str, object] = {"path": str(path), "name": name, "content_type": "", "charset": None, "url": None}
    return {"faq": False, **order, **members}  # type: ignore[typeddict-item]


def read(tmp_path: Path, name: str, raw: bytes, **members: object) -> Document:
    path = tmp_path / "content"
    path.write_bytes(raw)
    return read_document(given(path, name, **members))


def paragraph(text: str, style: str = "") -> str:
    styled = f'<w:pPr><w:pStyle w:val="{style}"/></w:pPr>' if style else ""
    return f"<w:p>{styled}<w:r><w:t>{text}</w:t></w:r></w:p>"


def docx(body: str, **files: bytes) -> bytes:
    document = f'<?xml version="1.0"?><w:document xmlns:w="{_WORDS}"><w:body>{body}</w:body></w:document>'
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("[Content_Types].xml", _TYPES)
        archive.writestr("_rels/.rels", _RELATIONS)
        archive.writestr("word/document.xml", document)
        for name, raw in files.items():
            archive.writestr(f"word/{name}.xml", raw)
    return packed.getvalue()


def pdf(*pages: str, title: str = "", count: int | None = None, encrypted: bool = False) -> bytes:
    """One line of text a page. `count`: how many times the page tree names the first page."""
    kids = [3 + 2 * index for index in range(len(pages))]
    font = 3 + 2 * len(pages)
    named = kids * count if count else kids
    objects = {
        1: "<< /Type /Catalog /Pages 2 0 R >>",
        2: f"<< /Type /Pages /Count {len(named)} /Kids [{' '.join(f'{kid} 0 R' for kid in named)}] >>",
        font: "<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
        font + 1: f"<< /Title ({title}) >>",
    }
    for kid, text in zip(kids, pages, strict=True):
        content = f"BT /F1 12 Tf 72 720 Td ({text}) Tj ET" if text else ""
        objects[kid] = (
            f"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Contents {kid + 1} 0 R "
            f"/Resources << /Font << /F1 {font} 0 R >> >> >>"
        )
        objects[kid + 1] = f"<< /Length {len(content)} >>\nstream\n{content}\nendstream"
    if encrypted:
        objects[font + 2] = f"<< /Filter /Standard /V 1 /R 2 /Length 40 /P -4 /O <{'11' * 32}> /U <{'22' * 32}> >>"
    return _assembled(objects, font + 1, font + 2 if encrypted else None)


def _assembled(objects: dict[int, str], info: int, encryption: int | None) -> bytes:
    raw, offsets = b"%PDF-1.4\n", {}
    for number in sorted(objects):
        offsets[number] = len(raw)
        raw += f"{number} 0 obj\n{objects[number]}\nendobj\n".encode("latin-1")
    start = len(raw)
    rows = "".join(f"{offsets[number]:010d} 00000 n \n" for number in sorted(objects))
    encrypt = f"/Encrypt {encryption} 0 R /ID [<00><00>] " if encryption else ""
    trailer = f"trailer\n<< /Size {len(objects) + 1} /Root 1 0 R /Info {info} 0 R {encrypt}>>\n"
    return raw + f"xref\n0 {len(objects) + 1}\n0000000000 65535 f \n{rows}{trailer}startxref\n{start}\n%%EOF\n".encode()
