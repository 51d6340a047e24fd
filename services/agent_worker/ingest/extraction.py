"""Inside the child process: files become passages, one JSON line each, in a file that the parent reads."""

import sys
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any, Final, TypedDict

import orjson

from services.agent_worker.ingest.blocks import Document, Unreadable
from services.agent_worker.ingest.cutting import passages
from services.agent_worker.ingest.encodings import declared, decoded
from services.agent_worker.ingest.formats import format_of
from services.agent_worker.ingest.progress import report

MAX_PASSAGES: Final = 20_000
MAX_TEXT: Final = 64 << 20


class Input(TypedDict):
    """One file. `name` is the uploaded file's or the URL, `url` what its passages point to."""

    path: str
    name: str
    content_type: str
    charset: str | None
    url: str | None
    faq: bool


class Result(TypedDict, total=False):
    """The first line. `failed` is the reason that nothing was read."""

    title: str
    pages: int
    passages: int
    failed: str


# Between two reports of progress: a small source makes none.
_REPORT_PASSAGES: Final = 100


def extract(inputs: list[Input], output: Path) -> None:
    try:
        result, lines = _read(inputs, output.parent)
    except Unreadable as error:
        result, lines = Result(failed=str(error)), []
    except RecursionError:
        result, lines = Result(failed="It is nested too deeply."), []
    with output.open("wb") as file:
        file.write(orjson.dumps(result) + b"\n")
        file.writelines(lines)


def _read(inputs: list[Input], directory: Path) -> tuple[Result, list[bytes]]:
    lines: list[bytes] = []
    size, pages, title = 0, 0, ""
    positions = count()
    for each in inputs:
        document = read_document(each, _reporter(directory, pages, len(lines)))
        pages += document.pages or (1 if len(inputs) > 1 else 0)
        title = title or document.title
        for passage in _passages(each, document, positions):
            line = orjson.dumps(passage) + b"\n"
            lines.append(line)
            size += len(line)
            if len(lines) % _REPORT_PASSAGES == 0:
                report(directory, pages, len(lines))
            if len(lines) > MAX_PASSAGES or size > MAX_TEXT:
                raise Unreadable(f"It has too much text: at most {MAX_PASSAGES:,} passages are read. Split it.")
    if not lines:
        raise Unreadable("It has no text.")
    return Result(title=title[:500], pages=pages, passages=len(lines)), lines


def _reporter(directory: Path, pages: int, passages: int) -> Callable[[int], None]:
    """Tells of the pages of one file, after those of the files before it."""
    return lambda read: report(directory, pages + read, passages)


def _passages(given: Input, document: Document, positions: "count[int]") -> Iterator[dict[str, Any]]:
    groups = [document.blocks]
    if given["faq"]:
        # A question with its answer stays a passage of its own, however short.
        groups = [document.blocks[at : at + 2] for at in range(0, len(document.blocks), 2)]
    for blocks in groups:
        for passage in passages(blocks):
            passage |= {"position": next(positions)}
            if given["url"]:
                passage |= {"url": given["url"], "title": document.title}
            yield passage


def read_document(given: Input, on_page: Callable[[int], None] = lambda pages: None) -> Document:
    """`on_page` is told how many pages have been read, in formats that have pages.

    Raises Unreadable. The libraries of the other formats are not imported.
    """
    path = Path(given["path"])
    if given["faq"]:
        from services.agent_worker.ingest.plain import read_faq

        return read_faq(path.read_bytes())
    match format_of(path, given["name"], given["content_type"]):
        case "pdf":
            from services.agent_worker.ingest.pdf import read_pdf

            return read_pdf(path, on_page)
        case "docx":
            from services.agent_worker.ingest.docx import read_docx

            return read_docx(path)
        case "xlsx":
            from services.agent_worker.ingest.xlsx import read_xlsx

            return read_xlsx(path)
        case "html":
            from services.agent_worker.ingest.html import read_html

            raw = path.read_bytes()
            return read_html(decoded(raw, given["charset"] or declared(raw)))
        case "markdown":
            from services.agent_worker.ingest.markdown import read_markdown

            return read_markdown(decoded(path.read_bytes(), given["charset"]))
        case "csv":
            from services.agent_worker.ingest.plain import read_csv

            return read_csv(decoded(path.read_bytes(), given["charset"]))
        case _:
            from services.agent_worker.ingest.plain import read_text

            return read_text(decoded(path.read_bytes(), given["charset"]))


if __name__ == "__main__":
    order = orjson.loads(Path(sys.argv[1]).read_bytes())
    extract(order["inputs"], Path(order["output"]))
