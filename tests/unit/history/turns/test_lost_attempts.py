"""The estimate of what a lost attempt has used, from the frames that it wrote."""

from typing import Any

from services.history.turns.lost_attempts import estimated_use
from shared.contracts.frames import FrameId, StreamFrame, decode, encode


def frames(*written: tuple[str, dict[str, Any]]) -> list[StreamFrame]:
    return [decode(encode(event, data, FrameId(1, seq))) for seq, (event, data) in enumerate(written, 1)]


def call(name: str) -> tuple[str, dict[str, Any]]:
    return "tool_call", {"toolCallId": name, "name": "look", "arguments": "{}" * 4}


def result(name: str) -> tuple[str, dict[str, Any]]:
    return "tool_result", {"toolCallId": name, "name": "look", "status": "ok", "result": "r" * 40, "durationMs": 1}


def test_an_attempt_that_wrote_nothing_has_sent_its_prompt() -> None:
    usage = estimated_use(30, [])
    assert (usage.prompt_tokens, usage.completion_tokens, usage.total_tokens, usage.estimated) == (30, 0, 30, True)


def test_text_reasoning_and_passages_count() -> None:
    found = ("kb_retrieval", {"query": "q", "passages": [{"text": "p" * 80}, {"text": "p" * 40}]})
    usage = estimated_use(30, frames(found, ("reasoning", {"text": "r" * 40}), ("delta", {"text": "d" * 20})))
    assert (usage.prompt_tokens, usage.completion_tokens) == (30 + 20 + 10, 10 + 5)


def test_each_round_of_tools_is_a_model_call_more() -> None:
    once = estimated_use(30, frames(call("a"), call("b"), result("a"), result("b")))
    assert (once.prompt_tokens, once.completion_tokens) == (2 * (30 + 20), 2 * (1 + 2))
    twice = estimated_use(30, frames(call("a"), result("a"), call("b"), result("b"), ("delta", {"text": "done"})))
    assert twice.prompt_tokens == 3 * (30 + 20)


def test_a_round_whose_tools_still_run_has_no_next_call() -> None:
    assert estimated_use(30, frames(call("a"))).prompt_tokens == 30
