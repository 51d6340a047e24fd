"""Whole turns with a model server that behaves badly."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from services.agent_worker.model import client
from tests.service.agent_worker.stage import Ended, Stage, serving
from tests.upstream.quirky import QuirkyUpstream


@pytest.fixture
def upstream(monkeypatch: pytest.MonkeyPatch) -> QuirkyUpstream:
    monkeypatch.setattr(client, "BACKOFF_S", 0.001)
    return QuirkyUpstream()


@pytest.fixture
async def model_url(upstream: QuirkyUpstream) -> AsyncIterator[str]:
    async with serving(*upstream.routes) as url:
        yield url


async def turn(stage: Stage, model: str, **given: Any) -> Ended:
    async with stage.worker():
        return await stage.ended(await stage.post(stage.agent(model), "Hi", **given))


async def test_reasoning_frames_are_written_for_a_turn_that_wants_them(stage: Stage) -> None:
    ended = await turn(stage, "reasoning-content", more={"reasoning": True})
    assert ended.events == ["started", "reasoning", "delta"] or ended.events == [
        "started", "reasoning", "reasoning", "delta",
    ]  # fmt: skip
    assert "".join(data["text"] for data in ended.data("reasoning")) == "Hm."
    assert ended.text == "Hello"


async def test_reasoning_is_neither_written_nor_stored_by_default(stage: Stage) -> None:
    ended = await turn(stage, "reasoning-content")
    assert ended.events == ["started", "delta"]
    assert "Hm." not in str(ended.turn.output)


async def test_an_answer_that_stays_empty_ends_the_turn_and_says_so(stage: Stage) -> None:
    ended = await turn(stage, "empty-always")
    assert (ended.turn.status, ended.turn.finish_reason) == ("completed", "stop")
    assert [(message.content, message.empty) for message in ended.turn.output] == [("", True)]


async def test_an_abort_of_the_model_server_fails_the_turn(stage: Stage) -> None:
    ended = await turn(stage, "vllm-error-in-mid-stream")
    assert ended.turn.status == "failed"
    assert [(message.content, message.status) for message in ended.turn.output] == [("Hello", "partial")]


async def test_a_permanent_error_inside_a_200_is_not_retryable_for_the_client(stage: Stage) -> None:
    ended = await turn(stage, "code-inside-invalid_api_key")
    assert ended.turn.error is not None
    assert (ended.turn.error["code"], ended.turn.error["retryable"]) == ("upstream_error", False)


async def test_a_conversation_that_is_too_long_is_shortened_and_answered(
    stage: Stage, upstream: QuirkyUpstream
) -> None:
    context = tuple(
        {"role": role, "content": "word " * 100, "id": f"msg_{n}{role}", "createdAt": "2026-01-31T09:00:00Z"}
        for n in range(6)
        for role in ("user", "assistant")
    )
    ended = await turn(stage, "too-long-twelve", context=context)
    assert ended.text == "Hello"
    first, second = (len(body["messages"]) for body in upstream.bodies["too-long-twelve"])
    assert second < first
