"""One turn's trace over all processes, in a collector of the test's own; and the turn when its collector is away."""

import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from deploy.local.processes import free_port
from shared.contracts.agents import AgentConfig, Passage
from shared.contracts.tools import HttpTool
from shared.ids import new_id
from tests.conftest import eventually
from tests.service.agent_worker.knowledge.model_endpoints import model_endpoints
from tests.service.agent_worker.stage import serving
from tests.system.collector import Collector, Told
from tests.system.stack import Client, Stack

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
MODEL = 'scripted/tokens=3,delay=0,tool=book:{"table":4}'
SECRET_WORDS = "canary-question"


@pytest.fixture(scope="module")
def port_of_collector() -> int:
    return free_port()


@pytest.fixture(scope="module")
def port_of_embeddings() -> int:
    return free_port()


@pytest.fixture(scope="module")
def traced(
    tmp_path_factory: pytest.TempPathFactory, port_of_collector: int, port_of_embeddings: int
) -> Iterator[Stack]:
    environment = {
        "PARLEY_TOOL_ALLOW": "127.0.0.1",
        "PARLEY_OTLP_URL": f"http://127.0.0.1:{port_of_collector}",
        "PARLEY_EMBEDDINGS_BASE_URL": f"http://127.0.0.1:{port_of_embeddings}/v1",
        "PARLEY_EMBEDDINGS_MODEL": "axes",
        "PARLEY_LOG_LEVEL": "debug",
    }
    directory = tmp_path_factory.mktemp("traced")
    stack = Stack.start(directory, "--gateways", "1", "--workers", "1", environment=environment)
    yield stack
    stack.stop()


@pytest.fixture
async def collector(port_of_collector: int) -> AsyncIterator[Collector]:
    collector = Collector()
    async with collector.serving(port_of_collector):
        yield collector


@pytest.fixture
async def embeddings(port_of_embeddings: int) -> AsyncIterator[None]:
    async with model_endpoints(port_of_embeddings):
        yield


class ToolServer:
    """A process of its own to the product: what it is told of the request."""

    def __init__(self) -> None:
        self.headers: list[dict[str, str]] = []

    def app(self) -> web.Application:
        app = web.Application()
        app.router.add_post("/book", self._book)
        return app

    async def _book(self, request: web.Request) -> web.Response:
        self.headers.append({name.lower(): value for name, value in request.headers.items()})
        return web.json_response({"booked": True})


async def publish(stack: Stack, tool_url: str) -> str:
    """An agent with a tool and knowledge."""
    agent_id, workspace = new_id("agt"), stack.facts["workspace"]
    schema = {"type": "object", "properties": {"table": {"type": "integer"}}, "required": ["table"]}
    tool = HttpTool.model_validate({"name": "book", "url": f"{tool_url}/book", "parameters": schema})
    config = AgentConfig.model_validate({"name": "traced", "model": {"name": MODEL}, "tools": [tool.wire()]})
    async with stack.history() as history:
        await history.put_agent(workspace, agent_id, config)
        passage = Passage(source_id="src_1", title="Hours", text="The restaurant opens at nine.")
        await history.publish_agent(workspace, agent_id, [passage])
    return agent_id


def roots(spans: list[Told]) -> list[Told]:
    """Those whose parent is not among them."""
    ids = {span.span_id for span in spans}
    return [span for span in spans if span.parent_id not in ids]


async def test_a_turn_with_a_tool_and_a_retrieval_is_one_tree_over_four_processes(
    traced: Stack, collector: Collector, http: aiohttp.ClientSession
) -> None:
    client = Client(http, traced.facts["gateways"][0], traced.facts["secretKey"])
    tools = ToolServer()
    async with serving(app=tools.app()) as url:
        session_id = await client.session(await publish(traced, url))
        said = f"When does the restaurant open? {SECRET_WORDS}"
        told = await client.ask(session_id, said, traceparent=f"00-{TRACE}-{SPAN}-01")
    assert told.end is not None
    assert told.end.data["traceId"] == TRACE
    names = {"invoke_agent", "retrieval", "execute_tool book", f"chat {MODEL}", "store_turn"}

    async def whole() -> bool:
        found = {span.name for span in collector.of(TRACE)}
        return names <= found and any(span.service == "parley-gateway" for span in collector.of(TRACE))

    await eventually(whole, within_s=20, what="the spans of all processes")
    spans = collector.of(TRACE)
    assert {span.service for span in spans} == {"parley-gateway", "parley-history", "parley-agent-worker"}
    assert [(root.service, root.parent_id) for root in roots(spans)] == [("parley-gateway", SPAN)]
    # The fourth process was told where it belongs: below the call of the tool, which is below the attempt.
    (call,) = collector.named(TRACE, "execute_tool book")
    (attempt,) = collector.named(TRACE, "invoke_agent")
    (header,) = tools.headers
    assert header["traceparent"] == f"00-{TRACE}-{call.span_id}-01"
    assert call.parent_id == attempt.span_id
    assert {span.parent_id for span in collector.named(TRACE, f"chat {MODEL}")} == {attempt.span_id}
    assert attempt.attributes["gen_ai.conversation.id"] == session_id
    assert attempt.attributes["gen_ai.usage.output_tokens"] > 0
    assert SECRET_WORDS not in str(spans)
    await the_request_is_known_everywhere(traced, client, session_id, header)


async def test_an_uploaded_document_is_one_trace_to_the_ingest_worker_and_its_index_another(
    traced: Stack, collector: Collector, embeddings: None, http: aiohttp.ClientSession
) -> None:
    client = Client(http, traced.facts["gateways"][0], traced.facts["secretKey"])
    draft = {"name": "reader", "model": {"name": "scripted/tokens=3"}}
    agent_id = (await client.call("POST", "/agents", draft))[1]["data"]["id"]
    sources = f"/agents/{agent_id}/knowledge/sources"
    form = aiohttp.FormData()
    form.add_field("file", f"# Hours\n\nThe shop opens at nine. {SECRET_WORDS}\n".encode(), filename="hours.md")
    upload_trace, publish_trace = "a" * 32, "b" * 32
    headers = {**client.headers, "traceparent": f"00-{upload_trace}-{SPAN}-01"}
    async with http.post(f"{client.base_url}/api/v1{sources}", data=form, headers=headers) as answer:
        assert answer.status == 202, await answer.text()
        source_id = (await answer.json())["data"]["id"]

    async def has(trace_id: str, *names: str) -> bool:
        return set(names) <= {span.name for span in collector.of(trace_id)}

    steps = ("ingest_source", "read_content", "split_document", "store_passages")
    await eventually(lambda: has(upload_trace, *steps), within_s=30, what="the spans of the reading")
    (reading,) = collector.named(upload_trace, "ingest_source")
    assert reading.service == "parley-ingest"
    assert reading.attributes["parley.source.id"] == source_id
    assert (reading.attributes["parley.outcome"], reading.attributes["parley.passages"]) == ("indexed", 1)
    for name in steps[1:]:
        assert [span.parent_id for span in collector.named(upload_trace, name)] == [reading.span_id], name
    await eventually(lambda: one_tree(collector, upload_trace), within_s=20, what="one tree of the upload")

    status, body = await client.call("POST", f"/agents/{agent_id}/publish", traceparent=f"00-{publish_trace}-{SPAN}-01")
    assert status == 202, body
    built = ("build_index", "index_passages", "embed_passages")
    await eventually(lambda: has(publish_trace, *built), within_s=30, what="the spans of the index")
    (build,) = collector.named(publish_trace, "build_index")
    assert (build.service, build.attributes["gen_ai.agent.id"]) == ("parley-ingest", agent_id)
    for name in built[1:]:
        assert [span.parent_id for span in collector.named(publish_trace, name)] == [build.span_id], name
    await eventually(lambda: one_tree(collector, publish_trace), within_s=20, what="one tree of the publication")
    assert SECRET_WORDS not in str(collector.spans)


async def one_tree(collector: Collector, trace_id: str) -> bool:
    """Parents end, and are sent, after their children."""
    found = [(root.service, root.parent_id) for root in roots(collector.of(trace_id))]
    return found == [("parley-gateway", SPAN)]


async def the_request_is_known_everywhere(
    stack: Stack, client: Client, session_id: str, header: dict[str, str]
) -> None:
    """In the tool's headers, the stored turn, and the logs of the gateway, history and the worker."""
    turn_id = (await client.messages(session_id))[-1]["turnId"]
    status, body = await client.call("GET", f"/chat/sessions/{session_id}/turns/{turn_id}")
    turn: dict[str, Any] = body["data"]
    assert (status, turn["traceId"], turn["requestId"]) == (200, TRACE, header["x-request-id"])
    logs = {path.stem: path.read_text() for path in Path(stack.data_dir).rglob("*.log")}
    for name in ("history", "worker", "gateway"):
        lines = [line for text in (logs[key] for key in logs if key.startswith(name)) for line in text.splitlines()]
        assert any(turn["requestId"] in line and TRACE in line for line in lines), name


@pytest.mark.parametrize("header", ["nonsense", "00-" + "0" * 32 + "-" + SPAN + "-01", "a" * 7000])
async def test_a_malformed_header_harms_nothing_and_begins_a_trace_of_its_own(
    traced: Stack, collector: Collector, http: aiohttp.ClientSession, header: str
) -> None:
    client = Client(http, traced.facts["gateways"][0], traced.facts["secretKey"])
    before = await counted(http, traced, "gateway", "parley_trace_headers_refused_total")
    told = await client.ask(await client.session(traced.facts["agentId"]), "Hello", traceparent=header)
    assert told.end is not None
    assert told.end.event == "done"
    assert told.end.data["traceId"] not in header
    assert await counted(http, traced, "gateway", "parley_trace_headers_refused_total") == before + 1


async def test_a_header_of_ten_kilobytes_is_refused_before_anything_is_made_of_it(
    traced: Stack, http: aiohttp.ClientSession
) -> None:
    client = Client(http, traced.facts["gateways"][0], traced.facts["secretKey"])
    status, _ = await client.call("GET", "/agents", traceparent="a" * 10_000)
    assert status in (400, 431)


async def test_a_problem_document_names_the_trace(traced: Stack, http: aiohttp.ClientSession) -> None:
    client = Client(http, traced.facts["gateways"][0], traced.facts["secretKey"])
    status, body = await client.call("GET", "/chat/sessions/ses_none", traceparent=f"00-{TRACE}-{SPAN}-00")
    assert (status, body["traceId"]) == (404, TRACE)


async def test_a_collector_that_is_away_is_counted_and_costs_no_turn(
    traced: Stack, http: aiohttp.ClientSession
) -> None:
    """There is no collector in this test: its port refuses connections."""
    client = Client(http, traced.facts["gateways"][0], traced.facts["secretKey"])
    told = await client.ask(await client.session(traced.facts["agentId"]), "Hello")
    assert told.end is not None
    assert told.end.event == "done"

    async def is_counted() -> bool:
        return await counted(http, traced, "gateway", 'parley_spans_total{outcome="failed"}') > 0

    await eventually(is_counted, within_s=20, what="spans that the collector did not take")
    for pid in traced.facts["pids"]["worker"]:
        os.kill(pid, 0)


async def counted(http: aiohttp.ClientSession, stack: Stack, kind: str, series: str) -> float:
    total = 0.0
    for url in stack.facts["metrics"][kind]:
        async with http.get(url) as answer:
            lines = (await answer.text()).splitlines()
        total += sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith(series + " "))
    return total
