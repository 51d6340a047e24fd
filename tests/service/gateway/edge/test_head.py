"""HEAD over the whole route table, on connections that serve another request afterwards."""

import asyncio
from typing import NamedTuple

import pytest

from services.gateway.call import Route
from services.gateway.route_table import BASE, ROUTES
from shared.contracts.keys import Scope
from shared.ids import new_id
from tests.service.gateway.fakes import Stage
from tests.service.gateway.paths import path_with

NEXT = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"
READABLE = [route for route in ROUTES if route.method == "GET"]
PATHS = sorted({route.path for route in ROUTES} - {route.path for route in READABLE})


class Answers(NamedTuple):
    """What one connection got for a HEAD and for the request behind it."""

    head: bytes
    rest: bytes

    @property
    def status(self) -> int:
        return int(self.head.split(b" ", 2)[1])


async def head_then_get(gateway: Stage, path: str, *, key: str | None = None) -> Answers:
    """Sends both requests at once, waits for the HEAD's headers, and reads what follows up to the end of the second
    answer.
    """
    host, port = gateway.base.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        credentials = f"Host: x\r\nAuthorization: Bearer {key or gateway.key}\r\n\r\n"
        writer.write(f"HEAD {BASE}{path} HTTP/1.1\r\n{credentials}".encode() + NEXT)
        async with asyncio.timeout(30):
            head = await reader.readuntil(b"\r\n\r\n")
            rest = await reader.readuntil(b'{"status":"ok"}')
        return Answers(head, rest)
    finally:
        writer.close()
        await writer.wait_closed()


async def scene(gateway: Stage, *, ended: bool) -> dict[str, str]:
    """The ids of a session, its turn and a completion, which run or have ended."""
    session = await gateway.session()
    url = gateway.url(f"/chat/sessions/{session}/messages")
    body = {"content": "hi"}
    async with gateway.client.post(url, json=body, headers={"Prefer": "respond-async"}) as response:
        turn_id = (await response.json())["data"]["turnId"]
    completion = {"model": gateway.agent_id, "messages": [{"role": "user", "content": "hi"}], "store": True}
    post = asyncio.create_task(_complete(gateway, completion))
    second = await gateway.admitted(2)
    for turn in (turn_id, second):
        writer = gateway.turn_writer(turn)
        writer.delta("Some text.")
        await writer.flush()
        if ended:
            await gateway.answer(turn, "Hello.")
    if not ended:
        post.cancel()
    await asyncio.gather(post, return_exceptions=True)
    return {
        "sessionId": session,
        "turnId": turn_id,
        "completionId": "chatcmpl-" + second.removeprefix("trn_"),
        "responseId": "resp_" + turn_id.removeprefix("trn_"),
        "model": gateway.agent_id,
    }


async def _complete(gateway: Stage, body: dict[str, object]) -> None:
    async with gateway.client.post(gateway.url("/chat/completions"), json=body) as response:
        await response.read()


@pytest.mark.parametrize("ended", [False, True], ids=["running", "ended"])
@pytest.mark.parametrize("query", ["", "?stream=true"])
@pytest.mark.parametrize("route", READABLE, ids=lambda route: route.path)
async def test_head_sends_headers_only_on_every_route(gateway: Stage, route: Route, query: str, ended: bool) -> None:
    ids = await scene(gateway, ended=ended)
    version = f"{'&' if query else '?'}A2A-Version=1.0" if "/a2a/" in route.path else ""
    answers = await head_then_get(gateway, path_with(route.path, **ids) + query + version)
    # The fake history keeps no other nouns.
    is_kept = route.path.startswith(("/chat", "/models", "/openapi", "/responses")) and route.path != "/chat/feedback"
    is_absent = ("completionId" in route.path and not ended) or not is_kept
    expected = 403 if route.scope is Scope.CHAT_PUBLIC else 404 if is_absent and answers.status != 200 else 200
    # Without the id of an event there is no stream to continue.
    assert answers.status == (405 if route.path == "/mcp" else expected)
    assert b"transfer-encoding" not in answers.head.lower()
    assert answers.rest.startswith(b"HTTP/1.1 200 OK\r\n"), answers.rest


@pytest.mark.parametrize("path", PATHS)
async def test_head_is_not_allowed_where_get_is_not(gateway: Stage, path: str) -> None:
    ids = {"sessionId": new_id("ses"), "turnId": new_id("trn"), "completionId": "chatcmpl-x", "responseId": "resp_x"}
    answers = await head_then_get(gateway, path_with(path, **ids))
    # There, `1:cancel` is read as the id of a task, and the request says no version of A2A.
    assert answers.status == (400 if path.endswith(":cancel") else 405)
    assert answers.rest.startswith(b"HTTP/1.1 200 OK\r\n")


@pytest.mark.parametrize("path", ["/models", "/nothing", "/chat/sessions/ses_x/turns/trn_x/events"])
async def test_a_refused_head_has_no_body_either(gateway: Stage, path: str) -> None:
    answers = await head_then_get(gateway, path, key="parley_sk_test_" + "x" * 43)
    assert answers.status in (401, 404)
    assert answers.rest.startswith(b"HTTP/1.1 200 OK\r\n")


async def test_head_of_a_stream_shows_the_streams_headers(gateway: Stage) -> None:
    ids = await scene(gateway, ended=False)
    answers = await head_then_get(gateway, "/chat/sessions/{sessionId}/turns/{turnId}/events".format(**ids))
    assert b"content-type: text/event-stream" in answers.head.lower()
    assert b"x-request-id: req_" in answers.head.lower()
