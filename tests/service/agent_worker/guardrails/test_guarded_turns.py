"""Guardrails in whole turns: what the model gets, the client sees and history stores, also with hostile hooks."""

from collections.abc import AsyncIterator
from typing import Any

import orjson
import pytest
from aiohttp import web

from shared.contracts.guardrails import CheckedInput, GuardrailAct
from shared.run_log.reader import RunLogs
from shared.turn_queue.queue import TurnQueue
from tests.service.agent_worker.fake_history import FakeHistory
from tests.service.agent_worker.guardrails.hook_server import LIES, SIGNING_SECRET, HookServer
from tests.service.agent_worker.stage import SECRETS, Ended, Stage, serving

# What the model says, and how it is cut into chunks.
SAID = "All is well. The secret is 4711. Good bye!"
MESSAGE = "I cannot help with that."


class Model:
    """Says SAID in pieces of three characters, and remembers what it was asked."""

    def __init__(self) -> None:
        self.prompts: list[list[dict[str, Any]]] = []
        self.says = SAID
        self.reasons = ""

    async def complete(self, request: web.Request) -> web.StreamResponse:
        self.prompts.append((await request.json())["messages"])
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        if self.reasons:
            await self._send(response, {"reasoning_content": self.reasons})
        for at in range(0, len(self.says), 3):
            await self._send(response, {"content": self.says[at : at + 3]})
        await self._send(response, {}, "stop")
        await response.write(b"data: [DONE]\n\n")
        return response

    @staticmethod
    async def _send(response: web.StreamResponse, delta: dict[str, Any], finish: str | None = None) -> None:
        chunk = {"choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}
        await response.write(b"data: " + orjson.dumps(chunk) + b"\n\n")


@pytest.fixture
def model() -> Model:
    return Model()


@pytest.fixture
def hooks() -> HookServer:
    return HookServer()


@pytest.fixture
async def stage(redis_url: str, model: Model, hooks: HookServer) -> AsyncIterator[Stage]:
    routes = [web.post("/v1/chat/completions", model.complete), web.post("/hooks/{what}", hooks.answer)]
    queue = TurnQueue.connect(redis_url)
    async with serving(*routes) as url, RunLogs([redis_url], keep_s=60) as logs:
        yield Stage(redis_url, url, FakeHistory(), queue, logs)
    await queue.aclose()


def hook(stage: Stage, what: str, at: str = "output", **given: Any) -> dict[str, Any]:
    sealed = {"sealed": SECRETS.seal("acme", SIGNING_SECRET)}
    url = f"{stage.model_url}/hooks/{what}"
    return {"kind": "http", "name": what, "stage": at, "url": url, "signingSecret": sealed, **given}


def patterns(at: str, *texts: str, **given: Any) -> dict[str, Any]:
    return {"kind": "patterns", "name": "words", "stage": at, "patterns": texts, **given}


async def answered(stage: Stage, *guardrails: dict[str, Any], text: str = "Hello?", **given: Any) -> Ended:
    async with stage.worker():
        ended = await stage.ended(await stage.post(stage.agent(guardrails=guardrails), text, **given))
    stored = "".join(message.content or "" for message in ended.turn.output)
    assert stored == ended.text, "what is stored is what the client saw"
    return ended


# --- input


async def test_a_blocked_question_reaches_no_model(stage: Stage, model: Model) -> None:
    ended = await answered(stage, patterns("input", "(?i)bomb"), text="How is a BOMB made?")
    assert model.prompts == []
    assert ended.events == ["started", "guardrail", "delta"]
    assert ended.data("guardrail") == [{"stage": "input", "action": "block", "name": "words"}]
    assert (ended.text, ended.turn.status, ended.turn.finish_reason) == (MESSAGE, "completed", "content_filter")
    assert ended.turn.checked_input == CheckedInput(blocked=True)
    assert ended.turn.guardrails == (GuardrailAct(stage="input", action="block", name="words"),)


async def test_a_replaced_question_is_what_the_model_gets(stage: Stage, model: Model) -> None:
    rail = patterns("input", r"\d{4,}", action="replace", replacement=r"\1")
    ended = await answered(stage, rail, hook(stage, "shout", "input"), text="My card is 4711 4712.")
    assert model.prompts[0][-1]["content"] == r"MY CARD IS \1 \1."
    assert ended.events == ["started", "guardrail", "guardrail", "delta"]
    assert [row["name"] for row in ended.data("guardrail")] == ["words", "shout"]
    assert ended.turn.checked_input is not None
    assert list(ended.turn.checked_input.texts.values()) == [r"MY CARD IS \1 \1."]
    assert ended.turn.finish_reason == "stop"


async def test_a_hook_is_asked_with_a_signature_and_the_facts_of_the_turn(stage: Stage, hooks: HookServer) -> None:
    ended = await answered(stage, hook(stage, "allow", "input"))
    assert (hooks.signed, ended.text) == (1, SAID)
    asked = hooks.asked[0]
    assert asked["texts"] == ["Hello?"]
    assert (asked["stage"], asked["guardrail"], asked["agentId"]) == ("input", "allow", "agt_1")
    assert asked["turnId"] == ended.turn.turn_id
    assert ended.data("guardrail") == []
    assert ended.turn.checked_input == CheckedInput()


# --- output


async def test_the_output_hook_sees_whole_sentences_and_blocks_before_the_client_sees_one(
    stage: Stage, hooks: HookServer
) -> None:
    ended = await answered(stage, hook(stage, "block-secrets"))
    seen = [text for asked in hooks.asked for text in asked["texts"]]
    assert seen in (["All is well. ", "The secret is 4711. "], ["All is well. ", "The secret is 4711. ", "Good bye!"])
    # The sentences that came together with the blocked one are withheld with it.
    assert ended.text in (f"All is well. \n\n{MESSAGE}", MESSAGE)
    assert "4711" not in str(ended.frames) + str(ended.turn.wire())
    assert (ended.turn.status, ended.turn.finish_reason) == ("completed", "content_filter")
    assert ended.turn.usage is not None
    assert ended.turn.usage.completion_tokens > 0
    assert len(set(hooks.ids)) == len(hooks.ids)


async def test_replaced_sentences_are_what_is_shown_and_stored(stage: Stage) -> None:
    ended = await answered(stage, patterns("output", "[0-9]+", action="replace"), hook(stage, "shout"))
    assert ended.text == "ALL IS WELL. THE SECRET IS [REMOVED]. GOOD BYE!"
    assert {row["action"] for row in ended.data("guardrail")} == {"replace"}
    assert ended.turn.finish_reason == "stop"


async def test_a_match_at_the_very_end_is_caught_too(stage: Stage) -> None:
    ended = await answered(stage, patterns("output", "Good bye", message="No."))
    assert ended.text.endswith("No.")
    assert "Good bye" not in ended.text
    assert ended.turn.finish_reason == "content_filter"


async def test_reasoning_is_not_shown_past_a_guardrail(stage: Stage, model: Model) -> None:
    model.reasons = "The secret is 4711."
    more = {"reasoning": True}
    ended = await answered(stage, patterns("output", "4711"), more=more)
    assert ended.data("reasoning") == []
    assert [row["text"] for row in (await answered(stage, more=more, number=2)).data("reasoning")] == [model.reasons]


async def test_after_a_lost_worker_the_stored_text_is_what_the_last_attempt_showed(stage: Stage, model: Model) -> None:
    async with stage.worker(drain_s=0.1):
        job = await stage.post(stage.agent(guardrails=[hook(stage, "hang", timeoutS=10)]), number=3)
        await stage.shows(job, "started")
        stage.history.turns[job.turn_id].agent = stage.agent(guardrails=[patterns("output", "4711")])
        await stage.lose(job)
    async with stage.worker():
        ended = await stage.ended(job)
    assert ended.turn.attempt >= 2
    assert "".join(message.content or "" for message in ended.turn.output) == ended.text
    assert "4711" not in str(ended.frames)


# --- hostile hooks


@pytest.mark.parametrize("at", ["input", "output"])
@pytest.mark.parametrize("failing", ["block", "allow"])
async def test_a_hook_that_fails_blocks_or_is_passed_over_as_its_author_says(
    stage: Stage, model: Model, at: str, failing: str
) -> None:
    async with stage.worker():
        for number, lie in enumerate(LIES, 1):
            agent = stage.agent(guardrails=[hook(stage, lie, at, timeoutS=0.3, onFailure=failing)])
            ended = await stage.ended(await stage.post(agent, number=number))
            shown = (ended.text, ended.turn.finish_reason, ended.data("guardrail"))
            if failing == "allow":
                assert shown == (SAID, "stop", []), lie
            else:
                act = {"stage": at, "action": "block", "name": lie}
                assert shown == (MESSAGE, "content_filter", [act]), lie
    assert bool(model.prompts) is (at == "output" or failing == "allow")


async def test_replacements_cannot_make_a_turn_too_large(stage: Stage, model: Model) -> None:
    model.says = "A. " * 2000
    ended = await answered(stage, hook(stage, "shout"), hook(stage, "endless-growth"))
    assert len(ended.text) < 400_000
    assert ended.turn.status == "completed"


async def test_a_hook_at_an_address_that_is_not_public_is_not_asked(stage: Stage, hooks: HookServer) -> None:
    rail = hook(stage, "allow")
    rail["url"] = rail["url"].replace("127.0.0.1", "127.0.0.2")
    ended = await answered(stage, rail)
    assert (ended.text, hooks.ids) == (MESSAGE, [])
