"""Every refusal as both of OpenAI's SDKs show it: with its message, and repeated only where a repeat can help."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import openai
import pytest

from shared.contracts.keys import Scope
from shared.ids import new_id
from tests.system.openai.conftest import Connect, MintKey, SpareGateway
from tests.system.openai.node_client import Node
from tests.system.openai.relay import Relay
from tests.system.openai.wire import asking, streaming
from tests.system.stack import Client, Stack

COMPLETIONS = "/chat/completions"


@dataclass(frozen=True, kw_only=True)
class Case:
    """A request that is refused, and what its caller is to see: `requests` of an SDK that may repeat once."""

    name: str
    status: int
    says: str
    python: str
    body: dict[str, Any]
    key: str
    path: str = COMPLETIONS
    headers: dict[str, str] = field(default_factory=dict)
    target: str | None = None
    requests: int = 1

    def sent(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in ("name", "key", "target", "path", "body", "headers")}


@asynccontextmanager
async def refusals(
    stack: Stack, client: Client, mint_key: MintKey, spare_gateway: SpareGateway
) -> AsyncIterator[list[Case]]:
    """All of them, while the circumstances that they need hold."""
    facts = stack.facts
    agent_id, good = facts["agentId"], facts["secretKey"]
    slow = await stack.publish("scripted/tokens=3000,delay=20")
    hello, reading = asking(agent_id), await mint_key(Scope.CHAT_READ)
    used = new_id("req")
    status, _ = await client.call("POST", COMPLETIONS, asking(agent_id, "first"), **{"Idempotency-Key": used})
    assert status == 200
    ended, busy = await client.session(agent_id), await client.session(slow)
    assert (await client.call("POST", f"/chat/sessions/{ended}/end"))[0] == 200
    limited = await spare_gateway(PARLEY_STREAMS_PER_KEY="1")
    lonely = await spare_gateway(PARLEY_HISTORY_URL="http://127.0.0.1:9")
    busy_path = f"/chat/sessions/{busy}/messages"
    holding = await mint_key()
    async with (
        client.request("POST", busy_path, {"content": "go", "stream": True}) as running,
        streaming(Client(client.http, limited, holding), slow) as held,
    ):
        assert running.status == 200
        await held.next_block()
        yield [
            Case(name="400", status=400, says="n: ", python="BadRequestError", body=hello | {"n": 2}, key=good),
            Case(
                name="401", status=401, says="not valid", python="AuthenticationError", body=hello,
                key="parley_sk_test_" + "a" * 43,
            ),
            Case(name="403", status=403, says="chat:write", python="PermissionDeniedError", body=hello, key=reading),
            Case(name="404", status=404, says="No such model", python="NotFoundError", body=asking("gpt-4o"), key=good),
            Case(
                name="409 for good", status=409, says="has ended", python="ConflictError", body={"content": "x"},
                key=good, path=f"/chat/sessions/{ended}/messages",
            ),
            Case(
                name="409 for now", status=409, says="is running", python="ConflictError", body={"content": "x"},
                key=good, path=busy_path, requests=2,
            ),
            Case(
                name="413", status=413, says="larger than", python="APIStatusError", key=good,
                body=asking(agent_id, "x" * 300_000),
            ),
            Case(
                name="422", status=422, says="Idempotency-Key", python="UnprocessableEntityError",
                body=asking(agent_id, "second"), key=good, headers={"Idempotency-Key": used},
            ),
            Case(
                name="429", status=429, says="too many open streams", python="RateLimitError", body=hello, key=holding,
                target=limited, requests=2,
            ),
            Case(
                name="503", status=503, says="does not answer", python="InternalServerError", body=hello, key=good,
                target=lonely, requests=2,
            ),
        ]  # fmt: skip
        await client.call("POST", f"/chat/sessions/{busy}/end")


async def test_both_sdks_show_each_refusal_and_repeat_only_what_can_succeed(
    stack: Stack, http: Any, connect: Connect, relay: Relay, node: Node, mint_key: MintKey, spare_gateway: SpareGateway
) -> None:
    client = Client(http, stack.facts["gateways"][0], stack.facts["secretKey"])
    async with refusals(stack, client, mint_key, spare_gateway) as cases:
        seen = await asyncio.gather(*(_raised(connect, relay, case) for case in cases))
        for case, error in zip(cases, seen, strict=True):
            assert (type(error).__name__, error.status_code) == (case.python, case.status)
            assert case.says in error.message, case.name
            assert (error.request_id or "").startswith("req_")
            assert set(error.response.json()["error"]) == {"message", "type", "param", "code"}
            if case.status in (429, 503):
                # Beyond 120 s openai-python does not come back, beyond 60 s the Vercel AI SDK makes up a time of its
                # own.
                assert 0 < int(error.response.headers["Retry-After"]) < 60
            assert relay.of(case.name) == [case.status] * case.requests, case.name
        relay.seen.clear()
        found = await node.run("errors.mjs", baseURL=relay.base, cases=[case.sent() for case in cases])
        for case in cases:
            told = found[case.name]
            assert told["status"] == case.status, told
            assert case.says in told["message"], told
            assert told["requestId"].startswith("req_")
            assert relay.of(case.name) == [case.status] * case.requests, case.name


async def _raised(connect: Connect, relay: Relay, case: Case) -> openai.APIStatusError:
    headers = {"x-case": case.name, **case.headers, **({"x-target": case.target} if case.target else {})}
    client = connect(base_url=relay.base, api_key=case.key, max_retries=1, default_headers=headers)
    with pytest.raises(openai.APIStatusError) as raised:
        await client.post(case.path, cast_to=object, body=case.body)
    return raised.value


async def test_a_turn_that_would_fail_again_is_not_repeated(stack: Stack, connect: Connect, relay: Relay) -> None:
    agent_id = await stack.publish("scripted/fail=400")
    client = connect(base_url=relay.base, max_retries=2, default_headers={"x-case": "failed"})
    with pytest.raises(openai.InternalServerError) as raised:
        await client.chat.completions.create(model=agent_id, messages=[{"role": "user", "content": "fail"}])
    assert raised.value.message
    assert raised.value.response.headers["x-should-retry"] == "false"
    assert len(relay.of("failed")) == 1


async def test_a_permanent_refusal_of_a_session_tells_sdks_not_to_repeat(client: Client, stack: Stack) -> None:
    session_id = await client.session(stack.facts["agentId"])
    await client.call("POST", f"/chat/sessions/{session_id}/end")
    async with client.request("POST", f"/chat/sessions/{session_id}/messages", {"content": "x"}) as answer:
        assert (answer.status, answer.headers["x-should-retry"]) == (409, "false")
