"""What an agent redacts is in no store and in no claim: the admission takes it out first."""

from shared.contracts.redaction import Redaction, RedactionPattern
from tests.service.history.erasures.remains import remains
from tests.service.history.running import WORKSPACE, History, completion

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
