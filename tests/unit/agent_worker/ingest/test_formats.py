"""Every format as blocks, every encoding as text, and the reasons of what cannot be read."""

import zipfile
from pathlib import Path

import pytest

from services.agent_worker.ingest.blocks import Block, Unreadable
from services.agent_worker.ingest.html import read_html
from services.agent_worker.ingest.pdf import MAX_PAGES
from tests.unit.agent_worker.ingest.documents import docx, paragraph, pdf, read


def test_markdown_keeps_headings_lists_tables_and_code(tmp_path: Path) -> None:
    text = "---\ntitle: Pump\n---\n# One\n\nA [link](http://x) `now`.\n\n- first\n- second\n\n```\ncode\n```\n\n"
    text += "| A | B |\n|---|---|\n| 1 | 2 |\n"
    document = read(tmp_path, "a.md", text.encode())
    assert document.title == "Pump"
    assert document.blocks == [
        Block("heading", "One", level=1),
        Block("text", "A link now."),
        Block("item", "first"),
        Block("item", "second"),
        Block("code", "code"),
        Block("row", "1 | 2", header="A | B"),
    ]


def test_html_is_read_without_its_navigation(tmp_path: Path) -> None:
    page = b"""<html><head><title> The page </title><script>alert(1)</script></head><body><nav>Home</nav>
    <main><h2>Hours<a class=headerlink>#</a></h2><p>Open <b>daily</b>.</p><ul><li>Mon</li><li>Tue</li></ul>
    <table><tr><th>Day</th><th>Time</th></tr><tr><td>Sun</td><td>9</td></tr></table>
    <div hidden>secret</div><pre>a\n  b</pre></main><footer>Imprint</footer></body></html>"""
    document = read(tmp_path, "page.html", page)
    assert document.title == "The page"
    assert [(block.kind, block.text) for block in document.blocks] == [
        ("heading", "Hours"),
        ("text", "Open daily."),
        ("item", "Mon"),
        ("item", "Tue"),
        ("row", "Sun | 9"),
        ("code", "a\n  b"),
    ]


def test_a_deeply_nested_page_is_read() -> None:
    document = read_html("<div>" * 20_000 + "deep" + "</div>" * 20_000)
    assert [block.text for block in document.blocks] in ([], ["deep"])


def test_pages_of_a_pdf_are_numbered(tmp_path: Path) -> None:
    raw = pdf("The pump holds 40 litres of water.", "Its warranty lasts for seven years.", title="Pump")
    document = read(tmp_path, "a.pdf", raw)
    assert (document.title, document.pages) == ("Pump", 2)
    assert [(block.page, block.text) for block in document.blocks] == [
        (1, "The pump holds 40 litres of water."),
        (2, "Its warranty lasts for seven years."),
    ]


def test_a_docx_has_headings_and_paragraphs(tmp_path: Path) -> None:
    raw = docx(paragraph("Warranty", "Heading1") + paragraph("It lasts seven years."))
    document = read(tmp_path, "a.docx", raw)
    assert [(block.kind, block.text) for block in document.blocks] == [
        ("heading", "Warranty"),
        ("text", "It lasts seven years."),
    ]


def test_what_bytes_are_wins_over_their_name(tmp_path: Path) -> None:
    assert read(tmp_path, "a.txt", pdf("The pump holds 40 litres of water.")).pages == 1
    assert read(tmp_path, "a.pdf", b"# Only text").blocks == [Block("text", "# Only text")]


GREETINGS = {
    "utf-8": "Grüße aus Köln, schöne Straße",
    "utf-8-sig": "Grüße aus Köln",
    "utf-16": "Grüße aus Köln",
    "utf-16-le": "Plain words without a mark",
    "utf-32": "Grüße aus Köln",
    "latin-1": "Die Größe der Tür hängt von der Straße ab, für die wir später schöne Häuser bauen möchten. " * 3,
    "shift_jis": "営業時間は午前九時から午後五時までです。土曜日と日曜日は休みです。詳しくはお電話で。" * 4,
    "gb18030": "营业时间为上午九点至下午五点。周六和周日休息。详情请致电咨询我们的客户服务部门。" * 4,
    "koi8-r": "Магазин открыт с девяти часов утра до пяти часов вечера. В субботу и воскресенье он закрыт. " * 4,
}


@pytest.mark.parametrize("encoding", GREETINGS)
def test_text_without_a_declared_encoding_is_read(tmp_path: Path, encoding: str) -> None:
    text = GREETINGS[encoding].strip()
    blocks = read(tmp_path, "a.txt", text.encode(encoding)).blocks
    assert " ".join(block.text for block in blocks) == text


def test_a_declared_encoding_is_used(tmp_path: Path) -> None:
    page = '<html><head><meta charset="windows-1251"></head><body><p>Магазин</p></body></html>'.encode("cp1251")
    assert read(tmp_path, "a.html", page).blocks == [Block("text", "Магазин")]


def test_each_row_of_a_csv_file_knows_its_header(tmp_path: Path) -> None:
    document = read(tmp_path, "a.csv", b"day;hours\nMonday;9 to 17\nSunday;closed\n")
    assert document.blocks == [
        Block("row", "Monday | 9 to 17", header="day | hours"),
        Block("row", "Sunday | closed", header="day | hours"),
    ]


def _reason(tmp_path: Path, name: str, raw: bytes) -> str:
    with pytest.raises(Unreadable) as caught:
        read(tmp_path, name, raw)
    return str(caught.value)


def test_every_unreadable_document_says_why(tmp_path: Path) -> None:
    reasons = {
        "It is empty": _reason(tmp_path, "a.txt", b""),
        "It is empty. ": _reason(tmp_path, "a.md", b" \n\t\n"),
        "scanned PDF without a text layer": _reason(tmp_path, "a.pdf", pdf("")),
        "encrypted": _reason(tmp_path, "a.pdf", pdf("Hidden text of this page.", encrypted=True)),
        "damaged": _reason(tmp_path, "a.pdf", b"%PDF-1.7\n" + bytes(200)),
        f"{MAX_PAGES:,} are read": _reason(tmp_path, "a.pdf", pdf("Again and again and again.", count=10_000)),
        "save it as .docx": _reason(tmp_path, "a.doc", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600)),
        "Remove its password": _reason(
            tmp_path, "a.docx", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + "EncryptedPackage".encode("utf-16-le")
        ),
        "a PNG image": _reason(tmp_path, "a.md", b"\x89PNG\r\n\x1a\n" + bytes(100)),
        "ZIP container": _reason(tmp_path, "a.docx", b"PK\x03\x04" + bytes(100)),
        "not text": _reason(tmp_path, "a.bin", bytes(range(256)) * 20),
        "gzip": _reason(tmp_path, "a.txt", b"\x1f\x8b\x08" + bytes(50)),
    }
    for expected, reason in reasons.items():
        assert expected.strip(" ") in reason, reason


def test_a_zip_bomb_is_refused_before_it_is_unpacked(tmp_path: Path) -> None:
    raw = docx(paragraph("Boom"), bomb=bytes(150 << 20))
    assert len(raw) < 1 << 20
    assert "unpacks to more" in _reason(tmp_path, "a.docx", raw)
    assert zipfile.is_zipfile(tmp_path / "content")
