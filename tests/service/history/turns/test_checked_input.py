"""What guardrails made of a user's message is what later prompts have; the transcript keeps what the user wrote."""

from typing import Any

import orjson
import pytest

from services.history.turns.context import Contexts
from shared.contracts.agents import Limits
from shared.contracts.guardrails import CheckedInput, GuardrailAct
from tests.service.history.running import WORKSPACE, History, finished, message

ACT = GuardrailAct(stage="input", action="replace", name="cards")


async def prompts_after(history: History, blocked: bool, texts: dict[str, str] | None = None) -> list[Any]:
    """The context of the second turn, from the cache of what just ended and read from the document."""
    await history.publish()
    session_id = await history.session()
    first = await history.admit(session_id, "card 4711")
    lease = await history.claim(first.turn.id)
    cached = history.dependencies.finalizer.contexts
    await cached.before(WORKSPACE, session_id, 1, Limits())
    checked = CheckedInput(blocked=blocked, texts={first.user_message_id: "card [x]"} if texts is None else texts)
    result = finished(first.turn.id, 1, output=(message("Fine.", "assistant"),))
    more = {"checked_input": checked, "guardrails": (ACT,)}
    await lease.job.finish(result.model_copy(update=more))
    await history.wait_for_end(first.turn.id)
    document = await history.document(first.turn.id)
    assert document["input"][0]["content"] == "card 4711"
    turn = await history.client.turn(WORKSPACE, first.turn.id)
    assert turn.turn.guardrails == (ACT,)
    read = Contexts(history.dependencies.database)
    return [
        orjson.loads(await contexts.before(WORKSPACE, session_id, 2, Limits(), guards_input=True))
        for contexts in (cached, read)
    ]


async def test_a_replaced_message_stays_replaced_in_later_prompts(history: History) -> None:
    said = [{"role": "user", "content": "card [x]"}, {"role": "assistant", "content": "Fine."}]
    assert await prompts_after(history, blocked=False) == [said, said]


async def test_a_blocked_turn_is_in_no_later_prompt(history: History) -> None:
    assert await prompts_after(history, blocked=True) == [[], []]


async def test_a_turn_that_was_allowed_is_in_later_prompts_as_it_was(history: History) -> None:
    said = [{"role": "user", "content": "card 4711"}, {"role": "assistant", "content": "Fine."}]
    assert await prompts_after(history, blocked=False, texts={}) == [said, said]


@pytest.mark.parametrize("guards_input", [True, False])
async def test_a_turn_that_ended_before_its_guardrails_decided_is_left_out(
    history: History, guards_input: bool
) -> None:
    await history.publish()
    session_id = await history.session()
    turn = (await history.admit(session_id, "card 4711")).turn
    await history.claim(turn.id)
    await history.lapse(turn.id)
    await history.client.cancel(WORKSPACE, turn.id)
    await history.wait_for_end(turn.id)
    read = Contexts(history.dependencies.database)
    context = await read.before(WORKSPACE, session_id, 2, Limits(), guards_input=guards_input)
    assert (b"4711" in context) is not guards_input
