import asyncio
import logging
from typing import Any

import aiohttp
import pytest

from services.gateway.route_table import ROUTES
from shared.contracts.keys import Scope, digest_of, new_secret
from tests.conftest import eventually
from tests.service.gateway.fakes import Stage, stage
from tests.service.gateway.paths import path_with

BROKEN_LINES = (
    b"Authorization: Bearer parley_sk_live_canary\x00",
    b"Authorization : Bearer parley_sk_live_canary",
    b"parley_sk_live_canary",
)


async def refusal(response: aiohttp.ClientResponse) -> dict[str, Any]:
    assert response.content_type == "application/problem+json"
    body: dict[str, Any] = await response.json(content_type=None)
    assert body.pop("instance") == response.headers["x-request-id"]
    return body


async def test_unknown_malformed_and_revoked_keys_get_the_same_bytes(gateway: Stage) -> None:
    revoked = gateway.history.key(Scope.CHAT_READ)
    del gateway.history.principals[digest_of(revoked)]
    answers = []
    for value in (
        f"Bearer {new_secret('live')}",
        f"Bearer {revoked}",
        "Bearer nonsense",
        "Basic abc",
        "Bearer",
        "parley_sk_x",
        "Bearer a b",
    ):
        async with gateway.client.get(gateway.url("/models"), headers={"Authorization": value}) as response:
            assert response.status == 401
            assert response.headers["WWW-Authenticate"] == "Bearer"
            answers.append(await refusal(response))
    assert all(answer == answers[0] for answer in answers)
    assert answers[0]["code"] == "invalid_api_key"


async def test_no_key_is_told_apart_from_a_bad_one(gateway: Stage) -> None:
    async with aiohttp.ClientSession() as client, client.get(gateway.url("/models")) as response:
        assert (response.status, (await refusal(response))["code"]) == (401, "missing_api_key")


@pytest.mark.parametrize(
    "route", [route for route in ROUTES if route.scope], ids=lambda route: f"{route.method} {route.path}"
)
async def test_every_route_needs_its_scope_and_names_it(gateway: Stage, route: Any) -> None:
    others = set(Scope) - {route.scope}
    headers = {"Authorization": f"Bearer {gateway.history.key(*others)}"}
    path = path_with(route.path)
    async with gateway.client.request(route.method, gateway.url(path), headers=headers) as response:
        assert response.status == 403
        body = await refusal(response)
    assert (body["code"], body["requiredScope"]) == ("insufficient_scope", str(route.scope))


@pytest.mark.parametrize(
    "route", [route for route in ROUTES if route.scope], ids=lambda route: f"{route.method} {route.path}"
)
async def test_every_route_needs_a_key(gateway: Stage, route: Any) -> None:
    path = path_with(route.path)
    async with aiohttp.ClientSession() as client, client.request(route.method, gateway.url(path)) as response:
        assert response.status == 401


async def test_revoked_key_stops_working_within_a_second(gateway: Stage) -> None:
    async with gateway.client.get(gateway.url("/models")) as response:
        assert response.status == 200
    gateway.history.principals.clear()

    async def refused() -> bool:
        async with gateway.client.get(gateway.url("/models")) as response:
            return response.status == 401

    await eventually(refused, within_s=1.0, what="the revocation")


async def test_a_burst_with_one_key_asks_history_once(gateway: Stage) -> None:
    key = gateway.history.key(Scope.CHAT_READ)
    before = gateway.history.key_lookups

    async def get() -> int:
        async with gateway.client.get(gateway.url("/models"), headers={"Authorization": f"Bearer {key}"}) as response:
            return response.status

    assert set(await asyncio.gather(*(get() for _ in range(50)))) == {200}
    assert gateway.history.key_lookups - before <= 2


async def test_without_history_an_unseen_key_is_refused_as_unavailable(gateway: Stage) -> None:
    gateway.history.down = True
    async with gateway.client.get(gateway.url("/models")) as response:
        assert (response.status, (await refusal(response))["code"]) == (503, "dependency_unavailable")
        assert response.headers["Retry-After"] == "1"


async def test_expired_key_says_so(gateway: Stage) -> None:
    key = gateway.history.key(Scope.CHAT_READ, expires_at="2020-01-01T00:00:00Z")
    async with gateway.client.get(gateway.url("/models"), headers={"Authorization": f"Bearer {key}"}) as response:
        assert (response.status, (await refusal(response))["code"]) == (401, "expired_api_key")


@pytest.mark.parametrize("name", ["api_key", "key", "anything"])
async def test_a_key_in_the_url_is_refused_even_beside_a_good_header(gateway: Stage, name: str) -> None:
    async with gateway.client.get(gateway.url("/models"), params={name: gateway.key}) as response:
        assert response.status == 400
        assert gateway.key not in await response.text()


async def test_a_broken_authorization_line_is_neither_echoed_nor_logged(
    gateway: Stage, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    host, port = gateway.base.removeprefix("http://").split(":")
    answers = []
    with caplog.at_level(logging.DEBUG):
        for line in BROKEN_LINES:
            reader, writer = await asyncio.open_connection(host, int(port))
            writer.write(b"GET /api/v1/models HTTP/1.1\r\nHost: x\r\n" + line + b"\r\n\r\n")
            answers.append(await asyncio.wait_for(reader.read(), 5))
            writer.close()
            await writer.wait_closed()
    assert all(answer.split(b" ", 2)[1] == b"400" and b'"code":"invalid_request"' in answer for answer in answers)
    said = b"".join(answers) + (caplog.text + "".join(capsys.readouterr())).encode()
    assert b"canary" not in said
    assert b"aiohttp" not in said


@pytest.mark.parametrize(
    ("raw", "status", "code"),
    [
        (b"{", 400, "invalid_json"),
        (b"[]", 422, "validation_failed"),
        (b"null", 422, "validation_failed"),
        (b'"x"', 422, "validation_failed"),
        (b"{}", 422, "validation_failed"),
        (b'{"content": 5}', 422, "validation_failed"),
        (b'{"content": ""}', 422, "validation_failed"),
        (b'{"content": " \\n\\t"}', 422, "validation_failed"),
        (b'{"content": "x", "stream": 1}', 422, "validation_failed"),
        (b'{"content": "x", "surprise": 1}', 422, "validation_failed"),
        (b'{"content": "x", "metadata": {"a": 1}}', 422, "validation_failed"),
        (b'{"content": "x", "metadata": {"a": null}}', 422, "validation_failed"),
        (b'{"content": "a\\u0000b"}', 400, "invalid_json"),
        (b'{"content": "\\ud800"}', 400, "invalid_json"),
        (b'{"content": "x", "n": 9223372036854775808}', 400, "invalid_json"),
        (b'{"content": "x", "n": NaN}', 400, "invalid_json"),
        (b'{"content": ' + b"[" * 200 + b"]" * 200 + b"}", 400, "invalid_json"),
        (b'{"content": "' + b"x" * 100_001 + b'"}', 422, "validation_failed"),
        (b'{"content": "' + b"x" * 300_000 + b'"}', 413, "payload_too_large"),
        (b"\xff", 400, "invalid_json"),
        (b"", 400, "invalid_json"),
    ],
)
async def test_bad_bodies_are_refused_and_nothing_is_stored(gateway: Stage, raw: bytes, status: int, code: str) -> None:
    session = await gateway.session()
    headers = {"Content-Type": "application/json"}
    async with gateway.client.post(
        gateway.url(f"/chat/sessions/{session}/messages"), data=raw, headers=headers
    ) as response:
        assert response.status == status
        body = await refusal(response)
    assert body["code"] == code
    assert code != "validation_failed" or all(set(item) == {"field", "message"} for item in body["errors"])
    assert gateway.history.turns == {}


async def test_errors_name_the_member_and_never_its_value(gateway: Stage) -> None:
    body = {"agentId": 5, "metadata": {"secret-name": ["secret-value"]}, "agent_id": "secret-value"}
    async with gateway.client.post(gateway.url("/chat/sessions"), json=body) as response:
        text = await response.text()
        assert response.status == 422
    assert "secret-value" not in text
    assert "pydantic" not in text
    assert '"field":"agentId"' in text
    assert '"field":"agent_id"' in text


@pytest.mark.parametrize("metadata", [{str(n): "x" for n in range(17)}, {"k" * 65: "x"}, {"k": "x" * 513}, {"": "x"}])
async def test_metadata_is_bounded(gateway: Stage, metadata: dict[str, str]) -> None:
    async with gateway.client.post(
        gateway.url("/chat/sessions"), json={"agentId": gateway.agent_id, "metadata": metadata}
    ) as response:
        assert response.status == 422


@pytest.mark.parametrize("key", ["", "x" * 201, "with space", "ümlaut"])
async def test_malformed_idempotency_key_is_refused(gateway: Stage, key: str) -> None:
    session = await gateway.session()
    url = gateway.url(f"/chat/sessions/{session}/messages")
    async with gateway.client.post(url, json={"content": "x"}, headers={"Idempotency-Key": key}) as response:
        assert (response.status, (await refusal(response))["code"]) == (400, "invalid_request")


async def test_other_media_types_and_encodings_are_refused(gateway: Stage) -> None:
    for headers in ({"Content-Type": "text/plain"}, {"Content-Type": "application/json", "Content-Encoding": "gzip"}):
        async with gateway.client.post(gateway.url("/chat/sessions"), data=b"{}", headers=headers) as response:
            assert response.status in (400, 415)


async def test_actions_take_no_body_or_an_empty_object(gateway: Stage) -> None:
    session = await gateway.session()
    url = gateway.url(f"/chat/sessions/{session}/end")
    for data, status in ((None, 200), (b"{}", 200), (b'{"x":1}', 422), (b"{", 400)):
        async with gateway.client.post(url, data=data) as response:
            assert response.status == status, data
    async with gateway.client.post(url) as response:
        data = (await response.json())["data"]
        assert (data["status"], data["endedReason"]) == ("ended", "api")


async def test_sessions_are_created_listed_read_and_deleted(gateway: Stage) -> None:
    async with gateway.client.post(
        gateway.url("/chat/sessions"), json={"agentId": gateway.agent_id, "metadata": {"a": "b"}}
    ) as response:
        assert response.status == 201
        assert response.headers["Cache-Control"] == "no-store"
        assert response.headers["X-Content-Type-Options"] == "nosniff"
        created = (await response.json())["data"]
        assert response.headers["Location"] == f"/api/v1/chat/sessions/{created['id']}"
    assert {"endedAt": None, "endedReason": None, "lastMessageAt": None, "turnCount": 0}.items() <= created.items()
    url = gateway.url(f"/chat/sessions/{created['id']}")
    async with gateway.client.get(url) as response:
        assert (await response.json())["data"] == created
    async with gateway.client.get(
        gateway.url("/chat/sessions"), params={"agentId": gateway.agent_id, "status": "active"}
    ) as response:
        assert await response.json() == {"success": True, "data": [created], "pagination": {"nextCursor": None}}
    async with gateway.client.delete(url) as response:
        assert response.status == 200
    async with gateway.client.get(url) as response:
        assert (response.status, (await refusal(response))["code"]) == (404, "session_not_found")


@pytest.mark.parametrize(
    "query",
    [
        "limit=0",
        "limit=201",
        "limit=x",
        "limit=-1",
        "limit=1e2",
        "limit=²",
        "status=odd",
        "cursor=",
        "cursor=bad",
        "agentId=x",
    ],
)
async def test_malformed_queries_are_refused(gateway: Stage, query: str) -> None:
    async with gateway.client.get(gateway.url(f"/chat/sessions?{query}")) as response:
        assert (response.status, (await refusal(response))["code"]) == (400, "invalid_request")


async def test_unknown_foreign_and_malformed_sessions_get_the_same_bytes(gateway: Stage) -> None:
    session = await gateway.session()
    foreign = {"Authorization": f"Bearer {gateway.history.key(Scope.CHAT_READ, workspace='ws_two')}"}
    answers = []
    for name, headers in ((session, foreign), ("ses_" + "0" * 26, {}), ("nonsense", {}), ("ses_%00", {}), ("a:b*", {})):
        async with gateway.client.get(gateway.url(f"/chat/sessions/{name}"), headers=headers) as response:
            assert response.status == 404
            answers.append(await refusal(response))
    assert all(answer == answers[0] for answer in answers)


async def test_unknown_paths_and_methods_are_problems_too(gateway: Stage) -> None:
    async with gateway.client.get(gateway.url("/nothing")) as response:
        assert (response.status, (await refusal(response))["code"]) == (404, "not_found")
        assert "Server" not in response.headers
    async with gateway.client.put(gateway.url("/models")) as response:
        assert (response.status, (await refusal(response))["code"]) == (405, "method_not_allowed")
        assert "GET" in response.headers["Allow"]


async def test_metrics_are_on_the_private_port_only(gateway: Stage, redis_url: str) -> None:
    async with gateway.client.get(gateway.base + "/metrics") as response:
        assert response.status == 200
        assert "parley_held_requests" in await response.text()
    async with stage(redis_url, private=False) as public:
        async with public.client.get(public.base + "/metrics") as response:
            assert response.status == 404

        async def is_ready() -> bool:
            async with public.client.get(public.base + "/readyz") as response:
                return response.status == 200

        await eventually(is_ready, what="a ready gateway")
        async with public.client.get(public.base + "/healthz") as response:
            assert response.status == 200


async def test_the_document_is_open_to_everyone(gateway: Stage) -> None:
    async with aiohttp.ClientSession() as client, client.get(gateway.url("/openapi.json")) as response:
        assert (await response.json())["openapi"] == "3.1.0"


async def test_members_have_one_spelling(gateway: Stage) -> None:
    async with gateway.client.post(gateway.url("/chat/sessions"), json={"agent_id": gateway.agent_id}) as response:
        assert response.status == 422


@pytest.mark.parametrize("path", ["/api/v1/models", "/api/v1/nothing", "/healthz"])
async def test_an_unknown_expectation_is_refused_with_a_problem_and_a_request_id(gateway: Stage, path: str) -> None:
    async with gateway.client.get(gateway.base + path, headers={"Expect": "a-miracle"}) as response:
        assert response.status == 417
        assert (await refusal(response))["code"] == "expectation_failed"
        assert "aiohttp" not in response.headers.get("Server", "")


async def test_the_document_names_the_public_url(redis_url: str) -> None:
    async with (
        stage(redis_url, public_url="https://chat.example.com/parley") as gateway,
        gateway.client.get(gateway.url("/openapi.json")) as response,
    ):
        assert (await response.json())["servers"] == [{"url": "https://chat.example.com/parley"}]
