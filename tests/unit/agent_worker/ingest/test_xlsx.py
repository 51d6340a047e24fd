"""Spreadsheets: what a person reads in them, and what a hostile one costs."""

from pathlib import Path

import pytest

from services.agent_worker.ingest.blocks import Block, Unreadable
from services.agent_worker.ingest.cell_formats import kind_of, shown
from services.agent_worker.ingest.cutting import passages
from services.agent_worker.ingest.xlsx import MAX_CELLS
from tests.unit.agent_worker.ingest.documents import docx, paragraph, read
from tests.unit.agent_worker.ingest.workbooks import row, shared, text, value, xlsx


def test_each_sheet_is_a_heading_over_a_table(tmp_path: Path) -> None:
    hours = row(text("A1", "Day"), text("B1", "Hours")) + row(text("A2", "Monday"), text("B2", "9 to 17"))
    prices = row(shared("A1", 0), shared("B1", 1)) + row(shared("A2", 2), value("B2", "4.5"))
    raw = xlsx(
        {"Hours": hours, "Empty": "", "Prices": prices},
        texts=["<t>Dish</t>", "<r><t>Pr</t></r><r><t>ice</t></r>", "<t>寿司</t><rPh><t>すし</t></rPh>"],
    )
    assert read(tmp_path, "a.xlsx", raw).blocks == [
        Block("heading", "Hours", level=1),
        Block("row", "Monday | 9 to 17", header="Day | Hours"),
        Block("heading", "Prices", level=1),
        Block("row", "寿司 | 4.5", header="Dish | Price"),
    ]


def test_each_piece_of_a_long_sheet_has_the_header_and_the_name_of_the_sheet(tmp_path: Path) -> None:
    rows = "".join(row(text(f"A{at}", f"Item {at}"), value(f"B{at}", at)) for at in range(2, 400))
    raw = xlsx({"Stock": row(text("A1", "Name"), text("B1", "Pieces")) + rows})
    found = list(passages(read(tmp_path, "a.xlsx", raw).blocks))
    assert len(found) > 3
    for passage in found:
        assert passage["text"].startswith("Name | Pieces\n")
        assert passage["headingPath"] == ["Stock"]
    assert all(any(f"Item {at} | {at}" in each["text"] for each in found) for at in range(2, 400))


def test_cells_stay_below_their_headers_where_others_are_empty(tmp_path: Path) -> None:
    raw = xlsx(
        {
            "S": row(text("B1", "Prices of 2026"))
            + row()
            + row(text("B3", "A"), text("C3", "B"), text("D3", "C"))
            + row(text("B4", "1"), text("D4", "3"))
            + row(text("A5", "note"), text("C5", "2"))
        }
    )
    assert read(tmp_path, "a.xlsx", raw).blocks[1:] == [
        Block("text", "Prices of 2026"),
        Block("row", "1 |  | 3", header="A | B | C"),
        Block("row", "note |  | 2", header="A | B | C"),
    ]


def test_a_sheet_of_one_column_is_text_and_hidden_sheets_are_not_read(tmp_path: Path) -> None:
    raw = xlsx(
        {"Notes": row(text("A1", "One.")) + row(text("A2", "Two.")), "Draft": row(text("A1", "No"))}, hidden=["Draft"]
    )
    assert [block.text for block in read(tmp_path, "a.xlsx", raw).blocks] == ["Notes", "One.", "Two."]


def test_values_are_shown_as_a_person_reads_them(tmp_path: Path) -> None:
    cells = [
        value("A2", 46353, style=1),
        value("B2", "46353.5625", style=1),
        value("C2", "0.19", style=2),
        value("D2", "0.30000000000000004"),
        value("E2", 1, kind="b"),
        value("F2", "#N/A", kind="e"),
        value("G2", "net", kind="str"),
        value("H2", "123456789012345678"),
    ]
    header = row(*(text(f"{letter}1", letter) for letter in "ABCDEFGH"))
    raw = xlsx({"S": header + row(*cells)}, formats=["dd\\.mm\\.yyyy", "0%"])
    (block,) = read(tmp_path, "a.xlsx", raw).blocks[1:]
    assert block.text == "2026-11-27 | 2026-11-27 13:30 | 19% | 0.3 | TRUE |  | net | 123456789012345678"


@pytest.mark.parametrize(
    ("number", "code", "kind"),
    [
        (14, "", "date"),
        (10, "", "percent"),
        (2, "", "number"),
        (164, "[$-409]d\\-mmm\\-yy;@", "date"),
        (164, '#,##0.00" days"', "number"),
        (164, "[Red]#,##0", "number"),
        (164, "[h]:mm", "number"),
        (164, "0.0%", "percent"),
        (164, "General", "number"),
    ],
)
def test_formats_tell_dates_from_numbers(number: int, code: str, kind: str) -> None:
    assert kind_of(number, code) == kind


def test_dates_count_from_the_workbooks_first_day() -> None:
    assert shown("1", "date", is_1904=True) == "1904-01-02"
    assert shown("0.5", "date", is_1904=False) == "12:00"
    assert shown("1e300", "date", is_1904=False) == "1e300"
    assert shown("nan", "date", is_1904=False) == "nan"


def _reason(tmp_path: Path, raw: bytes) -> str:
    with pytest.raises(Unreadable) as caught:
        read(tmp_path, "a.xlsx", raw)
    return str(caught.value)


def test_hostile_and_damaged_workbooks_say_why(tmp_path: Path) -> None:
    entity = '<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;&a;&a;">]>'
    wide = row(text("A1", "A"), text("XFD1", "B")) * (MAX_CELLS // 16_384 + 1)
    repeated = row(shared("A1", 0), shared("B1", 0)) * 20_000
    assert "unpacks to more" in _reason(tmp_path, xlsx({"S": row(text("A1", "x"))}, bomb=150 << 20))
    assert "unpacks to more" in _reason(tmp_path, xlsx({"S": row(text("A1", " " * (41 << 20)))}))
    assert "damaged" in _reason(tmp_path, xlsx({"S": row(text("A1", "&b;"))}, prolog=entity))
    assert "damaged" in _reason(tmp_path, xlsx({"S": row(text("ZZZ1", "x"))}))
    assert "damaged" in _reason(tmp_path, xlsx({"S": row(text("B1", "x"), text("A1", "y"))}))
    assert "damaged" in _reason(tmp_path, xlsx({"S": "<row><c"}))
    assert "cells" in _reason(tmp_path, xlsx({"S": wide}))
    assert "too much text" in _reason(tmp_path, xlsx({"S": repeated}, texts=[f"<t>{'x' * 32_000}</t>"]))


def test_what_is_in_the_container_decides_and_not_the_name(tmp_path: Path) -> None:
    assert read(tmp_path, "a.xlsx", docx(paragraph("A letter."))).blocks == [Block("text", "A letter.")]
    assert [block.text for block in read(tmp_path, "a.docx", xlsx({"S": row(text("A1", "x"))})).blocks] == ["S", "x"]
