"""Usage: each ended turn is in the sums exactly once, whoever adds it and whatever is erased afterwards."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import orjson
import pytest

from services.history.usage.billing import Billing
from services.history.usage.ledger import PAGE
from services.history.usage.reports import UsageReports
from shared.contracts.errors import ApiError, Code
from shared.contracts.prices import PriceTable
from shared.contracts.sessions import EndUser
from shared.contracts.turns import CompletionRequest, ModelUse, Usage
from shared.contracts.usage import UsageQuery
from shared.ids import id_at
from tests.conftest import eventually
from tests.service.history.conftest import is_ready
from tests.service.history.running import WORKSPACE, History, completion, finished, order, running, settings_for

PRICES = {"currency": "EUR", "models": {"default/demo": {"input": 2.0, "cached": 0.5, "output": 8.0}}}


def use(prompt: int, answer: int, model: str = "demo", **members: Any) -> ModelUse:
    usage = Usage(prompt_tokens=prompt, completion_tokens=answer, total_tokens=prompt + answer, **members)
    return ModelUse(upstream="default", model=model, usage=usage)


async def ask(
    history: History, *uses: ModelUse, end_user: str | None = None, store: bool = False, **members: Any
) -> str:
    """A completion from its admission to its stored end."""
    request = CompletionRequest(store=store, end_user=EndUser(id=end_user) if end_user else None)
    admitted = await history.client.admit(
        WORKSPACE, completion().model_copy(update={"completion": request, "key_id": "key_1", **members})
    )
    lease = await history.claim(admitted.turn.id)
    assert await lease.job.finish(finished(admitted.turn.id, lease.claimed.attempt, uses=uses))
    await history.wait_for_end(admitted.turn.id)
    return admitted.turn.id


async def sums(history: History, by: str = "agent", **query: str) -> list[dict[str, Any]]:
    page = await history.client.usage(WORKSPACE, {"groupBy": by, **query})
    return list(page["items"])


async def totals(history: History, by: str = "agent", **query: str) -> dict[str | None, tuple[int, int, Any]]:
    rows = await sums(history, by, **query)
    return {row["group"]: (row["turns"], row["totalTokens"], row["cost"]) for row in rows}


async def test_usage_is_summed_by_agent_key_model_and_day(mongodb_uri: str, redis_url: str, tmp_path: Path) -> None:
    file = tmp_path / "prices.json"
    file.write_bytes(orjson.dumps(PRICES))
    async with running(settings_for(mongodb_uri, redis_url, prices_file=str(file))) as history:
        await eventually(lambda: is_ready(history), within_s=20.0, what="a ready history")
        await history.publish()
        await history.publish("agt_other")
        await ask(history, use(1000, 100, cached_tokens=400))
        await ask(history, use(10, 5), use(7, 3, "unlisted"), key_id="key_2", agent_id="agt_other")
        await ask(history, use(2, 1, estimated=True), end_user="ann@example.com")
        priced = (600 * 2.0 + 400 * 0.5 + 100 * 8.0) / 1e6
        demo, other = await sums(history)
        assert (demo["group"], demo["turns"], demo["totalTokens"], demo["cachedTokens"]) == ("agt_demo", 2, 1103, 400)
        assert demo["cost"] == pytest.approx(priced + (2 * 2.0 + 8.0) / 1e6, abs=1e-12)
        assert (demo["estimatedTokens"], demo["unpricedTokens"], demo["currency"]) == (3, 0, "EUR")
        assert (other["turns"], other["totalTokens"], other["unpricedTokens"]) == (1, 25, 10)
        assert {name: row[:2] for name, row in (await totals(history, "key")).items()} == {
            "key_1": (2, 1103),
            "key_2": (1, 25),
        }
        models = await totals(history, "model")
        assert models["default/unlisted"] == (0, 10, None)
        assert models["default/demo"][:2] == (3, 1118)
        assert [row[:2] for row in (await totals(history, "day")).values()] == [(3, 1128)]
        assert (await totals(history, agentId="agt_other", keyId="key_1")) == {}
        assert [row[:2] for row in (await totals(history, endUser="ann@example.com")).values()] == [(1, 3)]
        assert (await totals(history, **{"from": "2020-01-01", "to": "2020-02-01"})) == {}


async def test_a_turn_is_added_once_by_any_number_of_histories(history: History, mongodb_uri: str) -> None:
    await history.publish()
    turns = [await ask(history, use(3, 2)) for _ in range(4)]
    where = {"_id": {"$in": turns}}
    ledger = history.dependencies.nouns.ledger
    for _ in range(3):
        # As after a kill between the ledger's update and the turns'.
        await history.documents.turns.update_many(where, {"$set": {"unbilled": True}})
        await asyncio.gather(*(ledger.bill() for _ in range(4)))
    assert (await totals(history))["agt_demo"][:2] == (4, 20)
    assert await history.count(unbilled=True) == 0


async def backlog(history: History, turn_id: str, ended: Sequence[datetime], **members: Any) -> None:
    """Copies of a turn that has ended, which no sum has. Each was begun a day before its end."""
    row = await history.document(turn_id)
    begun = [int((time - timedelta(days=1)).timestamp() * 1000) for time in ended]
    copies = [
        {**row, "_id": id_at("trn", at), "endedAt": time, "unbilled": True, "erasable": False, **members}
        for at, time in zip(begun, ended, strict=True)
    ]
    await history.documents.turns.insert_many(copies)


async def test_sums_with_a_backlog_say_what_they_lack_and_are_exact_in_the_end(history: History) -> None:
    await history.publish()
    ledger = history.dependencies.nouns.ledger
    reports = UsageReports(ledger, Billing(ledger, within_s=0.0), PriceTable())  # No time at all.
    now = datetime.now(UTC)
    await backlog(history, await ask(history, use(3, 2)), [now - timedelta(hours=number) for number in range(230)])
    today = now.date()
    query = UsageQuery(group_by="agent", first=today - timedelta(days=30), last=today)
    page = await reports.grouped(WORKSPACE, query)
    assert page.pending is not None
    assert page.pending.turns is not None
    assert page.pending.exact_before is not None
    # The reconciler adds turns meanwhile. One that it adds between the two reads is in both, and none is in neither.
    assert 231 <= page.pending.turns + sum(row.turns for row in page.rows) <= 2 * 231
    assert (now - timedelta(hours=229, days=1)).date() <= page.pending.exact_before <= today
    assert await ledger.bill()
    assert (await totals(history))["agt_demo"][:2] == (231, 231 * 5)
    page = await reports.grouped(WORKSPACE, query)
    assert (page.pending, [row.turns for row in page.rows]) == (None, [231])
    assert (await history.client.usage(WORKSPACE, {"groupBy": "day"}))["pending"] is None


async def test_a_turn_whose_mark_was_lost_with_a_process_is_not_added_again(history: History) -> None:
    await history.publish()
    ledger, documents = history.dependencies.nouns.ledger, history.documents
    turn_id = await ask(history, use(3, 2))
    await ledger.bill()
    # A process added the turn two minutes ago, and was killed before it marked it.
    added = [{"id": turn_id, "at": datetime.now(UTC) - timedelta(seconds=120)}]
    await documents.usage_days.update_one({}, {"$set": {"billed": added}})
    # So many turns are older that the ledger reads that one a page later.
    now = datetime.now(UTC)
    await backlog(history, turn_id, [now - timedelta(milliseconds=number) for number in range(PAGE)], unbilled=False)
    await documents.turns.update_many({}, {"$set": {"unbilled": True}})
    await ledger.bill()
    assert (await totals(history))["agt_demo"][:2] == (PAGE + 1, (PAGE + 1) * 5)


async def test_usage_outlives_its_sessions_and_an_end_users_share_can_be_forgotten(history: History) -> None:
    await history.publish()
    session_id = await history.session()
    await history.answer(session_id)
    await history.client.delete_session(WORKSPACE, session_id)
    await ask(history, use(3, 2), end_user="ann")
    assert (await totals(history))["agt_demo"][:2] == (2, 10)
    assert (await totals(history, endUser="ann"))["agt_demo"][:2] == (1, 5)
    await history.dependencies.nouns.ledger.forget_end_user(WORKSPACE, "ann")
    assert await totals(history, endUser="ann") == {}
    assert (await totals(history))["agt_demo"][:2] == (2, 10)
    assert await history.documents.end_user_usage_days.find_one({}) is None


async def test_turns_of_checks_are_not_in_the_sums(history: History) -> None:
    await history.publish()
    turn = await history.client.admit(WORKSPACE, order(await history.session()))
    await history.documents.turns.update_one({"_id": turn.turn.id}, {"$set": {"check": "run_1"}})
    lease = await history.claim(turn.turn.id)
    assert await lease.job.finish(finished(turn.turn.id, lease.claimed.attempt))
    await history.wait_for_end(turn.turn.id)
    assert await totals(history) == {}


async def test_groups_are_paged_and_bad_queries_are_refused(history: History) -> None:
    await history.publish()
    for key_id in ("key_1", "key_2", "key_3"):
        await ask(history, use(1, 1), key_id=key_id)
    first = await history.client.usage(WORKSPACE, {"groupBy": "key", "limit": "2"})
    rest = await history.client.usage(WORKSPACE, {"groupBy": "key", "limit": "2", "cursor": first["nextCursor"]})
    names = [row["group"] for page in (first, rest) for row in page["items"]]
    assert (names, rest["nextCursor"]) == (["key_1", "key_2", "key_3"], None)
    bad: tuple[dict[str, str], ...] = (
        {"groupBy": ""},
        {"groupBy": "weather"},
        {"groupBy": "day", "from": "2026-1-1"},
        {"groupBy": "day", "from": "2026-02-01", "to": "2026-01-01"},
        {"groupBy": "day", "from": "2020-01-01", "to": "2026-01-01"},
    )
    for query in bad:
        with pytest.raises(ApiError) as refused:
            await history.client.usage(WORKSPACE, query)
        assert refused.value.code is Code.INVALID_REQUEST


async def test_what_lost_attempts_have_used_is_counted_once_beside_the_last_ones(history: History) -> None:
    await history.publish()
    turn_id = (await history.client.admit(WORKSPACE, completion())).turn.id
    await history.claim(turn_id)
    assert await history.client.start_call(WORKSPACE, turn_id, 1, "call-1", [use(5, 5)])
    first, second = [use(100, 10)], [use(1000, 100, estimated=True)]
    last = await history.claim(turn_id)
    for _ in range(2):
        await history.client.spend(WORKSPACE, turn_id, 1, first)  # Attempt 1 is fenced by now, and tells it again.
    await history.client.release(WORKSPACE, turn_id, 2, second)
    await last.job.requeue()
    last = await history.claim(turn_id)
    assert await history.client.start_call(WORKSPACE, turn_id, 3, "call-2", [use(3, 2)])
    assert await last.job.finish(finished(turn_id, 3, uses=(use(7, 5),)))
    await history.wait_for_end(turn_id)
    await history.client.spend(WORKSPACE, turn_id, 2, [use(9, 9)])  # The turn has ended: it changes nothing.
    (row,) = await sums(history)
    assert (row["turns"], row["totalTokens"], row["estimatedTokens"]) == (1, 110 + 1100 + 12, 1100)


async def test_what_was_used_of_a_turn_that_history_ends_is_counted(history: History) -> None:
    await history.publish()
    turn = (await history.client.admit(WORKSPACE, completion())).turn
    lease = await history.claim(turn.id)
    await history.client.release(WORKSPACE, turn.id, 1, [use(100, 10)])
    await lease.job.drop()
    await history.client.cancel(WORKSPACE, turn.id)
    await history.wait_for_end(turn.id)
    assert (await totals(history))["agt_demo"][:2] == (1, 110)


async def test_an_attempt_that_was_killed_is_estimated_from_the_run_log(history: History) -> None:
    await history.publish(instructions="i" * 400)
    turn_id = (await history.client.admit(WORKSPACE, completion("q" * 80))).turn.id
    await history.claim(turn_id)
    await history.write(turn_id, 1, "a" * 200, "b" * 40)
    last = await history.claim(turn_id)
    assert await last.job.finish(finished(turn_id, 2, uses=(use(7, 5),)))
    await history.wait_for_end(turn_id)
    (row,) = await sums(history)
    prompt, answer = (4 + 100) + (4 + 20), 50 + 10
    assert (row["turns"], row["totalTokens"], row["estimatedTokens"]) == (1, 12 + prompt + answer, prompt + answer)
    assert (await sums(history, "model"))[0]["group"] == "default/demo"


async def test_what_a_lost_attempt_tells_after_all_replaces_its_estimate(history: History) -> None:
    await history.publish()
    turn_id = (await history.client.admit(WORKSPACE, completion())).turn.id
    await history.claim(turn_id)
    await history.write(turn_id, 1, "a" * 400)
    last = await history.claim(turn_id)
    assert (await history.document(turn_id))["spent"]["1"][0]["usage"]["estimated"]
    await history.client.spend(WORKSPACE, turn_id, 1, [use(100, 10)])
    assert await last.job.finish(finished(turn_id, 2, uses=(use(7, 5),)))
    await history.wait_for_end(turn_id)
    (row,) = await sums(history)
    assert (row["totalTokens"], row["estimatedTokens"]) == (122, 0)


async def test_what_a_killed_attempt_wrote_is_counted_when_history_ends_the_turn(history: History) -> None:
    await history.publish(instructions="")
    turn = (await history.client.admit(WORKSPACE, completion("q" * 80))).turn
    lease = await history.claim(turn.id)
    await history.write(turn.id, 1, "a" * 400)
    await lease.job.drop()
    await history.client.cancel(WORKSPACE, turn.id)
    await history.wait_for_end(turn.id)
    (row,) = await sums(history)
    assert (row["turns"], row["promptTokens"], row["completionTokens"]) == (1, 24, 100)
    assert row["estimatedTokens"] == 124


async def test_a_turn_that_no_worker_began_has_no_estimate(history: History) -> None:
    await history.publish()
    turn = (await history.client.admit(WORKSPACE, completion())).turn
    await history.client.cancel(WORKSPACE, turn.id)
    await history.wait_for_end(turn.id)
    assert (await totals(history))["agt_demo"][:2] == (1, 0)
