"""An end user's erasure: nothing of them stays in any store, and the receipt comes when that is so."""

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from services.history.erasures import receipts
from shared.contracts.end_users import EndUserErasure, EraseEndUser
from shared.contracts.errors import ApiError, Code
from shared.contracts.sessions import EndUser
from shared.contracts.turns import CompletionRequest
from shared.ids import new_id
from tests.conftest import eventually
from tests.service.history.erasures.remains import remains
from tests.service.history.running import WORKSPACE, History, finished, order

JANE = EndUser(id="jane@shop.example", name="Jane Canary", metadata={"plan": "canary"})
SAID = "canary: my card is 4111"


@pytest.fixture
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(receipts, "STAYS_EMPTY_FOR", timedelta(0))


async def session_of(history: History, who: EndUser = JANE) -> str:
    metadata = {"note": "canary"} if who is JANE else {}
    made = await history.client.create_session(WORKSPACE, new_id("ses"), "agt_demo", metadata, False, who)
    return made.id


async def asked(history: History, who: EndUser = JANE) -> EndUserErasure:
    return await history.client.erase_end_user(
        WORKSPACE, EraseEndUser(id=new_id("era"), end_user=who.id, actor="key_1")
    )


async def receipt_of(history: History, erasure_id: str) -> EndUserErasure:
    async def done() -> bool:
        return (await history.client.end_user_erasure(WORKSPACE, erasure_id)).status == "erased"

    await eventually(done, within_s=30.0, what="the receipt")
    return await history.client.end_user_erasure(WORKSPACE, erasure_id)


async def completion_of(history: History, *, store: bool) -> str:
    request = CompletionRequest(store=store, metadata={"note": "canary"}, end_user=JANE)
    wanted = order(None, SAID, agent_id="agt_demo", completion=request, idempotency_key=f"canary {store}")
    return (await history.client.admit(WORKSPACE, wanted)).turn.id


async def end(history: History, turn_id: str) -> None:
    lease = await history.claim(turn_id)
    await lease.job.finish(finished(turn_id, lease.claimed.attempt, f"canary answers {JANE.id}"))
    await history.wait_for_end(turn_id)


@pytest.mark.usefixtures("_no_waiting")
async def test_nothing_of_an_erased_end_user_stays_in_any_store(history: History) -> None:
    """With turns that have ended, wait and run, whose worker writes on, and completions that are stored or not."""
    await history.publish()
    ended, waiting, running = [await session_of(history) for _ in range(3)]
    await history.answer(ended, SAID, f"canary answers {JANE.id}")
    queued = (await history.admit(waiting, SAID)).turn.id
    await history.enqueue(queued)
    lease = await history.claim((await history.admit(running, SAID)).turn.id)
    turn_id = lease.job.job.turn_id
    await history.write(turn_id, 1, "canary, half said")
    for store in (True, False):
        await end(history, await completion_of(history, store=store))
    late = await history.claim((await history.client.admit(WORKSPACE, completion_order())).turn.id)
    other = await session_of(history, EndUser(id="joe"))
    kept = await history.answer(other, "Joe's question")
    receipt = await receipt_of(history, (await asked(history)).id)
    assert receipt.erased == {"sessions": 3, "turns": 3, "completions": 3}
    # The workers have not noticed: they finish.
    for held in (lease, late):
        await held.job.finish(finished(held.job.job.turn_id, 1, "canary, too late"))

    async def drained() -> bool:
        return not await history.queue.xlen("turns.finished")

    await eventually(drained, what="an empty outbox")
    assert await remains(history, "canary") == []
    assert await remains(history, JANE.id) == []
    assert (await history.client.turn(WORKSPACE, kept)).input[0].content == "Joe's question"


def completion_order() -> Any:
    return order(None, SAID, agent_id="agt_demo", completion=CompletionRequest(end_user=JANE))


@pytest.mark.usefixtures("_no_waiting")
async def test_usage_stays_and_says_nothing_of_whom(history: History) -> None:
    await history.publish()
    turn_id = await history.answer(await session_of(history), SAID)
    await end(history, completion := await completion_of(history, store=True))
    await receipt_of(history, (await asked(history)).id)
    for each in (turn_id, completion):
        kept = await history.document(each)
        assert kept["usage"]["totalTokens"] == 5
        assert (kept["workspace"], kept["agentId"], kept["agentVersion"]) == (WORKSPACE, "agt_demo", 1)
        assert kept.keys() <= {
            *("_id", "schemaVersion", "workspace", "agentId", "agentVersion", "status", "active"),
            *("usage", "createdAt", "endedAt", "usageOnly"),
        }
        with pytest.raises(ApiError) as raised:
            await history.client.turn(WORKSPACE, each)
        assert raised.value.code is Code.TURN_NOT_FOUND
        assert await history.client.turn_states([(WORKSPACE, each)]) == [None]


async def test_an_order_amid_an_erasure_is_that_erasure(history: History) -> None:
    await history.publish()
    await session_of(history)
    one, other = await asyncio.gather(asked(history), asked(history))
    assert one.id == other.id == (await asked(history)).id
    assert await history.documents["end_user_erasures"].count_documents({}) == 1


@pytest.mark.usefixtures("_no_waiting")
async def test_an_erasure_asked_for_again_later_finds_nothing_and_says_so(history: History) -> None:
    await history.publish()
    await session_of(history)
    first = await receipt_of(history, (await asked(history)).id)
    second = await receipt_of(history, (await asked(history)).id)
    assert first.id != second.id
    assert (first.erased["sessions"], second.erased) == (1, {})
    page = await history.client.end_user_erasures(WORKSPACE, {"limit": "10"})
    assert [row["id"] for row in page["items"]] == [second.id, first.id]


@pytest.mark.usefixtures("_no_waiting")
@pytest.mark.parametrize("is_late", [False, True])
async def test_the_receipt_waits_for_a_session_whose_erasure_was_cut_off(
    history: History, monkeypatch: pytest.MonkeyPatch, is_late: bool
) -> None:
    """A killed history leaves a session that is marked and names nobody; here the Redis refuses for a while.

    `is_late`: it is deleted after all that the order covers has begun, as behind many other sessions.
    """
    if is_late:
        monkeypatch.setattr("services.history.erasures.end_users.SKEW", timedelta(0))
    await history.publish()
    await history.answer(await session_of(history), SAID)
    plain, refusing = history.dependencies.logs.erase, asyncio.Event()
    refusing.set()

    async def erase(workspace: str, turn_id: str) -> bool:
        if refusing.is_set():
            raise ConnectionError
        return await plain(workspace, turn_id)

    monkeypatch.setattr(history.dependencies.logs, "erase", erase)
    erasure = await asked(history)

    async def marked() -> bool:
        return await history.documents.sessions.find_one({"erasing": True}) is not None

    await eventually(marked, what="the cut")
    erasures = history.dependencies.nouns.end_user_erasures
    for _ in range(3):
        await erasures.reconcile()
    assert (await history.client.end_user_erasure(WORKSPACE, erasure.id)).status == "erasing"
    refusing.clear()
    await receipt_of(history, erasure.id)
    assert await remains(history, "canary") == []


async def test_what_begins_after_the_order_is_not_erased(history: History, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.history.erasures.end_users.SKEW", timedelta(0))
    monkeypatch.setattr(receipts, "STAYS_EMPTY_FOR", timedelta(seconds=1))
    await history.publish()
    before = await session_of(history)
    erasure = await asked(history)
    after = await session_of(history)
    await receipt_of(history, erasure.id)
    assert (await history.client.session(WORKSPACE, after)).id == after
    with pytest.raises(ApiError):
        await history.client.session(WORKSPACE, before)


@pytest.mark.usefixtures("_no_waiting")
async def test_the_audit_tells_of_the_erasure_and_not_of_whom(history: History) -> None:
    await history.publish()
    session = await session_of(history)
    await history.client.delete_session(WORKSPACE, session, "key_2")
    await history.client.delete_session(WORKSPACE, session, "key_2")
    erasure = await asked(history)
    await receipt_of(history, erasure.id)

    async def told() -> set[tuple[str, str, str | None]]:
        page = await history.client.audit(WORKSPACE, {"limit": "50"})
        return {(row["action"], row["target"], row.get("actor")) for row in page["items"]}

    wanted = {
        ("session.deleted", session, "key_2"),
        ("end_user.erasure_requested", erasure.id, "key_1"),
        ("end_user.erased", erasure.id, None),
    }

    async def complete() -> bool:
        return wanted <= await told()

    await eventually(complete, what="the audit entries")
    rows = await history.documents["audit"].find({"action": "session.deleted"}).to_list(None)
    assert len(rows) == 1


async def test_an_absent_erasure_is_not_found(history: History) -> None:
    erasure = await asked(history)
    for workspace, wanted in ((WORKSPACE, new_id("era")), ("other", erasure.id)):
        with pytest.raises(ApiError) as raised:
            await history.client.end_user_erasure(workspace, wanted)
        assert raised.value.code is Code.NOT_FOUND
