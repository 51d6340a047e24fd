"""What an agent redacts is in no store and in no claim: the admission takes it out first."""

import pytest
from aiohttp import web

from shared.contracts.errors import ApiError, Code
from shared.contracts.redaction import Redaction, RedactionPattern
from tests.conftest import eventually
from tests.service.agent_worker.stage import serving
from tests.service.history.conftest import is_ready
from tests.service.history.erasures.remains import remains
from tests.service.history.running import WORKSPACE, History, completion, running, settings_for

SAID = "I am jane@shop.example, customer K-77, card 4111 1111 1111 1111."
KEPT = "I am [email], customer [customer], card [card]."
REDACTION = Redaction(kinds=("email", "card"), patterns=(RedactionPattern(name="customer", pattern=r"K-[0-9]+"),))


async def test_the_original_is_in_no_store_and_reaches_no_model(history: History) -> None:
    await history.publish(redaction=REDACTION)
    session_id = await history.session()
    admitted = await history.admit(session_id, SAID, body_digest="d")
    await history.enqueue(admitted.turn.id)
    assert admitted.snapshot is not None
    assert "jane" not in admitted.snapshot
    lease = await history.claim(admitted.turn.id)
    assert [message.content for message in lease.claimed.input] == [KEPT]
    stored = await history.client.admit(WORKSPACE, completion(SAID, store=True, body_digest="d"))
    assert (await history.client.turn(WORKSPACE, stored.turn.id)).input[0].content == KEPT
    for text in ("jane", "K-77", "4111"):
        assert await remains(history, text) == []


async def test_a_repeat_is_recognised_by_what_was_sent(history: History) -> None:
    await history.publish(redaction=REDACTION)
    session_id = await history.session()
    first = await history.admit(session_id, SAID, idempotency_key="once")
    again = await history.admit(session_id, SAID, idempotency_key="once")
    assert (again.created, again.turn.id) == (False, first.turn.id)


async def test_an_agent_without_redaction_stores_what_was_said(history: History) -> None:
    await history.publish()
    turn = (await history.admit(await history.session(), SAID)).turn
    assert (await history.client.turn(WORKSPACE, turn.id)).input[0].content == SAID


async def redact(request: web.Request) -> web.Response:
    texts = (await request.json())["texts"]
    return web.json_response({"texts": [text.replace("Jane", "[name]") for text in texts]})


async def test_the_operators_server_redacts_what_is_left_before_anything_is_stored(
    mongodb_uri: str, redis_url: str
) -> None:
    asked: list[bytes] = []

    async def recorded(request: web.Request) -> web.Response:
        asked.append(await request.read())
        return await redact(request)

    async with serving(web.post("/", recorded)) as url:
        settings = settings_for(mongodb_uri, redis_url, redaction_url=url)
        async with running(settings) as history:
            await eventually(lambda: is_ready(history), within_s=20.0, what="a ready history")
            await history.publish(redaction=Redaction(kinds=("email",), hook=True))
            turn = (await history.admit(await history.session(), "Jane, jane@shop.example", body_digest="d")).turn
            assert (await history.client.turn(WORKSPACE, turn.id)).input[0].content == "[name], [email]"
            assert await remains(history, "Jane") == []
    assert b"shop.example" not in asked[0]  # It learns no more than it must.


async def test_a_message_that_could_not_be_redacted_is_refused_and_stored_nowhere(history: History) -> None:
    """This history has no server for it."""
    await history.publish(redaction=Redaction(hook=True))
    session_id = await history.session()
    with pytest.raises(ApiError) as refused:
        await history.admit(session_id, "Jane")
    assert refused.value.code is Code.DEPENDENCY_UNAVAILABLE
    assert await remains(history, "Jane") == []
    await history.publish()
    assert (await history.admit(await history.session(), "Hello")).created
