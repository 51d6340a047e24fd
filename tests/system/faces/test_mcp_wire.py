"""What the MCP server answers to requests that no official client makes."""

from typing import Any

import orjson
import pytest

from services.gateway.faces.mcp.versions import HANDSHAKE, STATELESS
from shared.contracts.keys import NewKey, Scope
from tests.system.stack import Client, Stack

META = {
    "io.modelcontextprotocol/protocolVersion": STATELESS,
    "io.modelcontextprotocol/clientCapabilities": {},
}


def body(method: str, request_id: Any = 1, **params: Any) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": request_id, "method": method, "params": params}


async def post(client: Client, value: Any, **headers: str) -> tuple[int, Any, str]:
    async with client.request("POST", "/mcp", value, **headers) as answer:
        raw = await answer.read()
        return answer.status, orjson.loads(raw) if raw else None, answer.headers.get("Mcp-Session-Id", "")


async def test_a_handshake_gives_a_name_that_every_gateway_takes(clients: list[Client]) -> None:
    status, answer, connection = await post(clients[0], body("initialize", protocolVersion="2024-11-05"))
    assert (status, answer["result"]["protocolVersion"]) == (200, HANDSHAKE[0])
    own = {"Mcp-Session-Id": connection, "MCP-Protocol-Version": HANDSHAKE[0]}
    status, nothing, _ = await post(clients[1], {"jsonrpc": "2.0", "method": "notifications/initialized"}, **own)
    assert (status, nothing) == (202, None)
    assert (await post(clients[1], body("ping"), **own))[1]["result"] == {}
    status, answer, _ = await post(clients[1], body("ping"), **(own | {"Mcp-Session-Id": "another-servers"}))
    assert (status, answer["error"]["data"]["code"]) == (404, "not_found")


async def test_a_request_that_is_sent_twice_is_one_turn(stack: Stack, clients: list[Client]) -> None:
    await stack.publish("scripted/tokens=5,text=echo")
    _, _, connection = await post(clients[0], body("initialize", protocolVersion=HANDSHAKE[0]))
    tool = (await post(clients[0], body("tools/list")))[1]["result"]["tools"][0]["name"]
    own = {"Mcp-Session-Id": connection, "MCP-Protocol-Version": HANDSHAKE[0], "Accept": "application/json"}
    call = body("tools/call", 7, name=tool, arguments={"message": "once"})
    results = [(await post(client, call, **own))[1]["result"] for client in clients]
    assert results[0]["structuredContent"] == results[1]["structuredContent"]
    assert len(await clients[0].messages(results[0]["structuredContent"]["sessionId"])) == 2
    other = body("tools/call", 7, name=tool, arguments={"message": "another"})
    _, answer, _ = await post(clients[0], other, **own)
    assert (answer["error"]["code"], "used for another" in answer["error"]["message"]) == (-32602, True)
    stranger = body("tools/call", 7, name="ask_mia-s-pizza-000p1zza", arguments={"message": "once"})
    assert (await post(clients[0], stranger, **own))[1]["error"]["code"] == -32602
    # Without the name of a connection, each request is one of its own.
    del own["Mcp-Session-Id"]
    _, answer, _ = await post(clients[0], call, **own)
    assert answer["result"]["structuredContent"]["sessionId"] != results[0]["structuredContent"]["sessionId"]


@pytest.mark.parametrize(
    ("value", "headers", "status", "code"),
    [
        ([], {}, 400, -32600),
        ({"jsonrpc": "2.0", "id": 1, "result": {}}, {}, 400, -32600),
        (body("nothing"), {}, 200, -32601),
        (body("server/discover"), {}, 200, -32601),
        (body("ping"), {"MCP-Protocol-Version": "2024-11-05"}, 400, -32022),
        (body("tools/list", cursor="nonsense!"), {}, 200, -32602),
        (body("tools/list", cursor=7), {}, 200, -32602),
        (body("tools/call", name="ask_nobody-at-all"), {}, 200, -32602),
        (body("nothing", _meta=META), {"MCP-Protocol-Version": STATELESS, "Mcp-Method": "nothing"}, 404, -32601),
        (body("ping", _meta=META), {"MCP-Protocol-Version": STATELESS, "Mcp-Method": "ping"}, 404, -32601),
        (body("tools/list", _meta=META), {"MCP-Protocol-Version": STATELESS}, 400, -32020),
    ],
)
async def test_a_refusal_has_the_status_that_its_revision_has_for_it(
    client: Client, value: Any, headers: dict[str, str], status: int, code: int
) -> None:
    found, answer, _ = await post(client, value, **headers)
    assert (found, answer["error"]["code"]) == (status, code)


async def test_pages_of_other_origins_are_refused(client: Client) -> None:
    for origin, expected in (
        ("https://evil.example", 403),
        ("null", 403),
        (client.base_url.replace("127.0.0.1", "evil.example"), 403),
        ("http://localhost:6274", 200),
    ):
        status, _, _ = await post(client, body("ping"), Origin=origin)
        assert status == expected, origin


async def test_a_get_is_only_for_going_on(client: Client) -> None:
    status, answer = await client.call("GET", "/mcp")
    assert (status, answer["code"]) == (405, "method_not_allowed")
    status, answer = await client.call("GET", "/mcp", **{"Last-Event-ID": "nonsense"})
    assert (status, answer["code"]) == (400, "invalid_request")
    status, answer = await client.call("DELETE", "/mcp")
    assert status == 405


async def test_a_key_that_has_too_many_turns_is_told_when_to_come_back(stack: Stack, client: Client) -> None:
    agent_id = await stack.publish("scripted/tokens=400,delay=20")
    async with stack.history() as history:
        key = NewKey(
            workspace=stack.facts["workspace"],
            scopes=frozenset({Scope.CHAT_READ, Scope.CHAT_WRITE, Scope.AGENTS_READ}),
            max_concurrent_turns=1,
        )
        limited = Client(client.http, client.base_url, (await history.create_key(key)).secret)
    session = await limited.session(agent_id)
    status, begun = await limited.call(
        "POST", f"/chat/sessions/{session}/messages", {"content": "long"}, Prefer="respond-async"
    )
    assert status == 202
    _, slug = await limited.call("GET", f"/agents/{agent_id}")
    call = body("tools/call", name=f"ask_{slug['data']['slug']}", arguments={"message": "hi"})
    async with limited.request("POST", "/mcp", call) as answer:
        assert answer.status == 429
        assert int(answer.headers["Retry-After"]) > 0
        assert orjson.loads(await answer.read())["error"]["data"]["code"] == "rate_limited"
    task = {"message": {"messageId": "m", "role": "ROLE_USER", "parts": [{"text": "hi"}]}}
    for path, value in (
        ("/message:send", task),
        ("", {"jsonrpc": "2.0", "id": 1, "method": "SendMessage", "params": task}),
    ):
        async with limited.request("POST", f"/agents/{agent_id}/a2a{path}", value, **{"A2A-Version": "1.0"}) as answer:
            assert answer.status == 429
            assert int(answer.headers["Retry-After"]) > 0
    await limited.call("POST", f"/chat/sessions/{session}/turns/{begun['data']['turnId']}/cancel")
