"""The parts of an XLSX container: names of sheets, shared texts and number formats, parsed without building trees."""

import posixpath
import zipfile
from collections.abc import Callable
from typing import Final
from xml.parsers import expat

from services.agent_worker.ingest.blocks import Unreadable
from services.agent_worker.ingest.cell_formats import Kind, kind_of

DAMAGED: Final = "It is damaged: it cannot be read as an XLSX workbook."
# A sheet refers to a text of this table any number of times; `xlsx.py` counts what it makes of them.
_PIECE: Final = 256 << 10
_WORKBOOK: Final = "xl/workbook.xml"
_TYPE: Final = "/officeDocument/2006/relationships/"
_STRICT_TYPE: Final = "/ooxml/officeDocument/relationships/"

Attributes = dict[str, str]


class Parts:
    """Of one open archive. Every method raises Unreadable for a part that is damaged."""

    def __init__(self, archive: zipfile.ZipFile) -> None:
        self._archive = archive
        self.is_1904 = False
        self.sheets: list[tuple[str, str]] = []
        """Names and members, in the order of the workbook. Hidden sheets are left out."""
        self._read_workbook()

    def parse(self, member: str, start: Callable[[str, Attributes], None], **handlers: Callable[[str], None]) -> None:
        """Calls `start` with names without namespaces, and the handlers `end` and `text`. An absent member is empty."""
        parser = expat.ParserCreate(namespace_separator=" ")
        parser.buffer_text = True
        parser.StartElementHandler = lambda name, attributes: start(_local(name), attributes)
        parser.EndElementHandler = lambda name: handlers["end"](_local(name)) if "end" in handlers else None
        parser.CharacterDataHandler = handlers.get("text")
        # Office writes no document type; entities that a file declares may grow without end.
        parser.StartDoctypeDeclHandler = _refuse
        try:
            with self._archive.open(member) as file:
                while piece := file.read(_PIECE):
                    parser.Parse(piece, False)
                parser.Parse(b"", True)
        except KeyError:
            return
        # zipfile raises NotImplementedError for a compression that it does not know.
        except (expat.ExpatError, zipfile.BadZipFile, OSError, EOFError, NotImplementedError, ValueError):
            raise Unreadable(DAMAGED) from None

    def shared_texts(self) -> list[str]:
        """Pronunciations that stand beside Japanese texts are left out."""
        found: list[str] = []
        pieces: list[str] = []
        inside: list[str] = []

        def start(name: str, attributes: Attributes) -> None:
            inside.append(name)
            if name == "si":
                pieces.clear()

        def text(piece: str) -> None:
            if inside and inside[-1] == "t" and "rPh" not in inside:
                pieces.append(piece)

        def end(name: str) -> None:
            inside.pop()
            if name == "si":
                found.append("".join(pieces))

        self.parse(self._related("sharedStrings", "xl/sharedStrings.xml"), start, text=text, end=end)
        return found

    def cell_kinds(self) -> list[Kind]:
        """By a cell's number of style."""
        codes: dict[int, str] = {}
        styles: list[int] = []
        inside: list[str] = []

        def start(name: str, attributes: Attributes) -> None:
            inside.append(name)
            if name == "numFmt" and "numFmts" in inside:
                codes[_number(attributes.get("numFmtId"))] = attributes.get("formatCode", "")
            elif name == "xf" and "cellXfs" in inside:
                styles.append(_number(attributes.get("numFmtId")))

        self.parse(self._related("styles", "xl/styles.xml"), start, end=lambda name: _leave(inside))
        return [kind_of(number, codes.get(number, "")) for number in styles]

    def _read_workbook(self) -> None:
        named: list[tuple[str, str]] = []
        self._relations = self._read_relations()

        def start(name: str, attributes: Attributes) -> None:
            if name == "workbookPr":
                self.is_1904 = attributes.get("date1904") in ("1", "true")
            elif name == "sheet" and attributes.get("state", "visible") == "visible":
                relation = next((value for key, value in attributes.items() if key.endswith("relationships id")), "")
                named.append((attributes.get("name", ""), relation))

        self.parse(_WORKBOOK, start)
        members = {relation: member for relation, kind, member in self._relations if kind == "worksheet"}
        self.sheets = [(name, members[relation]) for name, relation in named if relation in members]

    def _read_relations(self) -> list[tuple[str, str, str]]:
        """Id, kind and member of each part."""
        found: list[tuple[str, str, str]] = []

        def start(name: str, attributes: Attributes) -> None:
            kind, target = attributes.get("Type", ""), attributes.get("Target", "")
            if name == "Relationship" and (_TYPE in kind or _STRICT_TYPE in kind):
                member = posixpath.normpath(posixpath.join("/xl", target)).lstrip("/")
                found.append((attributes.get("Id", ""), kind.rpartition("/")[2], member))

        self.parse("xl/_rels/workbook.xml.rels", start)
        return found

    def _related(self, kind: str, usual: str) -> str:
        return next((member for _, each, member in self._relations if each == kind), usual)


def _local(name: str) -> str:
    return name.rpartition(" ")[2]


def _leave(inside: list[str]) -> None:
    inside.pop()


def _number(text: str | None) -> int:
    return int(text) if text is not None and text.isdecimal() else 0


def _refuse(*arguments: object) -> None:
    raise Unreadable(DAMAGED)
