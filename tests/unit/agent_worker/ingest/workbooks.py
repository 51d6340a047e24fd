"""Workbooks made by hand: exactly the parts that their test needs."""

import io
import zipfile
from collections.abc import Sequence

_MAIN = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
_TYPES = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
_STATES = ("visible", "hidden")
_PACKAGE = "http://schemas.openxmlformats.org/package/2006/relationships"


def text(reference: str, value: str) -> str:
    return f'<c r="{reference}" t="inlineStr"><is><t>{value}</t></is></c>'


def shared(reference: str, number: int) -> str:
    return f'<c r="{reference}" t="s"><v>{number}</v></c>'


def value(reference: str, stored: object, *, style: int = 0, kind: str = "n") -> str:
    return f'<c r="{reference}" t="{kind}" s="{style}"><v>{stored}</v></c>'


def row(*cells: str) -> str:
    return f"<row>{''.join(cells)}</row>"


def xlsx(
    sheets: dict[str, str],
    *,
    texts: Sequence[str] = (),
    formats: Sequence[str] = (),
    hidden: Sequence[str] = (),
    prolog: str = "",
    is_1904: bool = False,
    bomb: int = 0,
) -> bytes:
    """`sheets`: rows by name. `texts` are the inside of `<si>`; `formats` are the codes of the styles from 1."""
    numbered = list(enumerate(sheets, 1))
    names = "".join(
        f'<sheet name="{name}" sheetId="{number}" r:id="r{number}" state="{_STATES[name in hidden]}"/>'
        for number, name in numbered
    )
    relations = "".join(
        f'<Relationship Id="r{number}" Type="{_TYPES}/worksheet" Target="worksheets/s{number}.xml"/>'
        for number, _ in numbered
    )
    codes = "".join(f'<numFmt numFmtId="{200 + at}" formatCode="{code}"/>' for at, code in enumerate(formats))
    styles = '<xf numFmtId="0"/>' + "".join(f'<xf numFmtId="{200 + at}"/>' for at in range(len(formats)))
    parts = {
        "_rels/.rels": f'<Relationships xmlns="{_PACKAGE}"/>',
        "xl/_rels/workbook.xml.rels": f'<Relationships xmlns="{_PACKAGE}">{relations}</Relationships>',
        "xl/workbook.xml": f'<workbook xmlns="{_MAIN}" xmlns:r="{_TYPES}"><workbookPr date1904="{int(is_1904)}"/>'
        f"<sheets>{names}</sheets></workbook>",
        "xl/sharedStrings.xml": f'<sst xmlns="{_MAIN}">{"".join(f"<si>{each}</si>" for each in texts)}</sst>',
        "xl/styles.xml": f'<styleSheet xmlns="{_MAIN}"><numFmts>{codes}</numFmts><cellXfs>{styles}</cellXfs>'
        "</styleSheet>",
    }
    for number, name in numbered:
        rows = f'<worksheet xmlns="{_MAIN}"><sheetData>{sheets[name]}</sheetData></worksheet>'
        parts[f"xl/worksheets/s{number}.xml"] = prolog + rows
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for member, content in parts.items():
            archive.writestr(member, content)
        if bomb:
            archive.writestr("xl/media/image1.png", bytes(bomb))
    return packed.getvalue()
