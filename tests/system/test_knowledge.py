"""Documents in by the public API, cited answers out: the whole stack."""

import io
import zipfile
from typing import Any

import aiohttp
import pytest

from shared.contracts.knowledge import MAX_UPLOAD
from tests.conftest import eventually
from tests.system.stack import Client, Stack
from tests.unit.agent_worker.ingest.documents import docx, paragraph, pdf

DRAFT = {
    "name": "Pump support",
    "instructions": "Answer from the passages only.",
    "model": {"name": "demo/extractive"},
    "knowledge": {"topK": 4},
}
MANUAL = (
    b"# Aqua 300\n\n## Cleaning\n\nRinse the blue filter every 17 days with cold water.\n\n"
    b"## Warranty\n\nIt lasts 7 years.\n"
)
PAGE = b"""<!doctype html><html><head><title>Shipping</title></head><body><nav>Home</nav><main><h1>Shipping</h1>
<p>Parcels to Reykjavik leave every Thursday at noon.</p></main><footer>Imprint</footer></body></html>"""


async def upload(client: Client, agent: str, name: str, raw: bytes, **fields: str) -> tuple[int, Any]:
    form = aiohttp.FormData(fields)
    form.add_field("file", io.BytesIO(raw), filename=name)
    url = f"{client.base_url}/api/v1/agents/{agent}/knowledge/sources"
    async with client.http.post(url, data=form, headers=client.headers) as response:
        return response.status, await response.json()


async def indexed(client: Client, agent: str, source: str) -> dict[str, Any]:
    path = f"/agents/{agent}/knowledge/sources/{source}"

    async def is_ended() -> bool:
        _, body = await client.call("GET", path)
        return body["data"]["state"] in ("indexed", "failed")

    await eventually(is_ended, within_s=30.0, what="the reading of the source")
    data: dict[str, Any] = (await client.call("GET", path))[1]["data"]
    return data


async def published(client: Client, agent: str) -> int:
    status, body = await client.call("POST", f"/agents/{agent}/publish")
    assert status == 202, body
    number = int(body["data"]["number"])

    async def is_published() -> bool:
        _, found = await client.call("GET", f"/agents/{agent}/versions/{number}")
        return bool(found["data"]["state"] == "published")

    await eventually(is_published, within_s=30.0, what="the published version")
    return number


@pytest.fixture
async def agent(client: Client) -> str:
    status, body = await client.call("POST", "/agents", DRAFT)
    assert status == 201, body
    return str(body["data"]["id"])


async def test_questions_about_uploaded_documents_are_answered_from_them(
    stack: Stack, client: Client, agent: str
) -> None:
    for name, raw in (("aqua.md", MANUAL), ("shipping.html", PAGE)):
        status, body = await upload(client, agent, name, raw)
        assert (status, body["data"]["state"]) == (202, "pending"), body
    pairs = [{"question": "Who owns the shop?", "answer": "Doctor Oddny Halldorsdottir owns it."}]
    status, body = await client.call(
        "POST", f"/agents/{agent}/knowledge/sources", {"kind": "faq", "title": "Owner", "pairs": pairs}
    )
    assert status == 202, body
    await published(client, agent)
    _, page = await client.call("GET", f"/agents/{agent}/knowledge/sources")
    assert page["pagination"]["counts"] == {"pending": 0, "processing": 0, "indexed": 3, "failed": 0}
    expected = {
        "How often is the blue filter rinsed?": "17 days",
        "When do parcels to Reykjavik leave?": "Thursday",
        "Who owns the shop?": "Halldorsdottir",
    }
    sources = {row["title"]: row["id"] for row in page["data"]}
    for question, answer in expected.items():
        told = await client.ask(await client.session(agent), question)
        assert answer in told.text, told.text
        found = next(frame for frame in told.frames if frame.event == "kb_retrieval").data["passages"]
        assert found[0]["sourceId"] in sources.values()
        assert answer in found[0]["text"]
    assert set(sources) == {"Aqua 300", "Shipping", "Owner"}


async def test_a_pdf_and_a_docx_are_quoted_with_their_page_and_heading(client: Client, agent: str) -> None:
    pages = ["The lighthouse keeper is called Bartholomew Quill.", "Its lamp turns once in eleven seconds."]
    report = docx(paragraph("Harbour fees", "Heading1") + paragraph("A yacht pays 34 crowns for a night."))
    for name, raw in (("lighthouse.pdf", pdf(*pages, title="Lighthouse")), ("fees.docx", report)):
        status, body = await upload(client, agent, name, raw)
        assert status == 202, body
        ended = await indexed(client, agent, body["data"]["id"])
        assert ended["state"] == "indexed", ended
    await published(client, agent)
    fees = await client.ask(await client.session(agent), "What does a yacht pay for a night?")
    assert "34 crowns" in fees.text
    found = next(frame for frame in fees.frames if frame.event == "kb_retrieval").data["passages"][0]
    assert (found["title"], found["heading"]) == ("Harbour fees", "Harbour fees")
    lamp = await client.ask(await client.session(agent), "How often does the lighthouse lamp turn?")
    assert "eleven seconds" in lamp.text
    found = next(frame for frame in lamp.frames if frame.event == "kb_retrieval").data["passages"][0]
    assert (found["title"], found["page"]) == ("Lighthouse", 1)


async def test_formats_that_cannot_be_read_are_refused_early_or_fail_with_a_reason(client: Client, agent: str) -> None:
    status, body = await upload(client, agent, "old.doc", b"\xd0\xcf\x11\xe0" + bytes(100))
    assert status == 415
    assert "save it as .docx" in body["detail"]
    container = io.BytesIO()
    with zipfile.ZipFile(container, "w") as archive:
        archive.writestr("xl/workbook.xml", "<x/>")
    status, body = await upload(client, agent, "sheet.docx", container.getvalue(), title="A sheet")
    assert status == 202
    ended = await indexed(client, agent, body["data"]["id"])
    assert (ended["state"], ended["title"]) == ("failed", "A sheet")
    # It is a workbook whatever its name says, and this one has no sheets.
    assert ended["reason"] == "It has no text."


async def test_a_file_of_more_than_25_mib_is_refused(client: Client, agent: str) -> None:
    status, body = await upload(client, agent, "large.txt", b"word " * (MAX_UPLOAD // 5 + 1))
    assert (status, body["code"]) == (413, "payload_too_large")
    _, page = await client.call("GET", f"/agents/{agent}/knowledge/sources")
    assert page["data"] == []
