from datetime import UTC, datetime
from typing import Any

import orjson
import pytest

from services.gateway.faces.a2a.card import card_of
from services.gateway.faces.a2a.shapes import stored_task, task_of
from services.gateway.faces.a2a.task_stream import TaskStream
from services.gateway.faces.a2a.wire import Wire, rest_wire, rpc_wire
from services.gateway.streaming.renderer import End
from shared.contracts.agents import AgentConfig, ModelChoice
from shared.contracts.errors import ApiError, Code
from shared.contracts.frames import FrameId, StreamFrame, encode, stream_frame
from shared.contracts.sessions import TurnMessage
from shared.contracts.turns import StoredTurn, Turn
from shared.ids import new_id

NOW = datetime.now(UTC)
TURN = Turn(
    id=new_id("trn"), session_id=new_id("ses"), status="queued", agent_id=new_id("agt"), agent_version=3, created_at=NOW
)
CONTEXT = "my context"
PASSAGE = {"id": "psg_1", "sourceId": "src_1", "title": "Menu"}
ANSWER: dict[str, Any] = {
    "role": "assistant",
    "content": "12 euros [1].",
    "citations": [{"marker": 1, "start": 9, "end": 12, "passage": PASSAGE}],
}
DONE: dict[str, Any] = {
    "turnId": TURN.id,
    "status": "completed",
    "finishReason": "stop",
    "messages": [ANSWER],
    "usage": {"totalTokens": 7},
}
BOTH = pytest.mark.parametrize("wire", [rpc_wire("r1"), rest_wire()], ids=["rpc", "rest"])


def stream(wire: Wire) -> TaskStream:
    return TaskStream(wire, TURN, CONTEXT, task_of(TURN, CONTEXT))


def frame(seq: int, event: str, data: dict[str, Any], attempt: int = 1) -> StreamFrame:
    return stream_frame(event, data, FrameId(attempt, seq))


def delta(seq: int, text: str, attempt: int = 1) -> StreamFrame:
    return frame(seq, "delta", {"text": text}, attempt)


def events(data: bytes) -> list[dict[str, Any]]:
    """Without the wrapping of JSON-RPC."""
    blocks = [block.rpartition(b"data: ")[2] for block in data.split(b"\n\n") if block]
    found = [orjson.loads(block) for block in blocks]
    return [each.get("result", each) for each in found]


def artifact_text(told: list[dict[str, Any]]) -> str:
    """As a client puts it together."""
    text = ""
    for each in told:
        if (update := each.get("artifactUpdate")) is not None:
            pieces = "".join(part["text"] for part in update["artifact"]["parts"])
            text = text + pieces if update.get("append") else pieces
    return text


@BOTH
def test_a_task_is_told_from_its_beginning_to_its_end(wire: Wire) -> None:
    one = stream(wire)
    rendered = one.frames(
        [
            frame(1, "started", {"turnId": TURN.id}),
            frame(2, "kb_retrieval", {"query": "price", "passages": []}),
            frame(3, "tool_call", {"toolCallId": "c", "name": "menu", "arguments": "{}"}),
            frame(4, "tool_result", {"toolCallId": "c", "name": "menu", "status": "ok", "result": "", "durationMs": 1}),
            delta(5, "12 euros"),
            delta(6, " [1]."),
            frame(7, "done", DONE),
        ]
    )
    assert rendered.end is End.CLEAN
    first, *told = events(one.start() + rendered.data)
    assert first["task"]["status"]["state"] == "TASK_STATE_SUBMITTED"
    assert artifact_text(told) == "12 euros [1]."
    states = [each["statusUpdate"]["status"]["state"] for each in told if "statusUpdate" in each]
    assert states == ["TASK_STATE_WORKING"] * 4 + ["TASK_STATE_COMPLETED"]
    activities = [each["statusUpdate"].get("metadata", {}).get("activity") for each in told if "statusUpdate" in each]
    assert [each["type"] for each in activities if each] == ["kb_retrieval", "tool_call", "tool_result"]
    last = told[-2]["artifactUpdate"]
    assert (last["append"], last["lastChunk"]) == (True, True)
    assert last["artifact"]["metadata"]["citations"][0]["passage"] == PASSAGE
    for each in told:
        (update,) = each.values()
        assert (update["taskId"], update["contextId"]) == (TURN.id, CONTEXT)


@BOTH
def test_a_lost_attempts_text_is_replaced(wire: Wire) -> None:
    one = stream(wire)
    frames = [delta(1, "lost"), frame(1, "restarted", {"attempt": 2, "reason": "x"}, 2)]
    before = events(one.frames(frames).data)
    assert artifact_text(before) == ""
    assert artifact_text([*before, *events(one.frames([delta(2, "a", 2), delta(3, "b", 2)]).data)]) == "ab"


@BOTH
def test_the_fast_path_sends_what_the_slow_one_would(wire: Wire) -> None:
    one, other, sent = stream(wire), stream(wire), list[bytes]()

    def send(data: bytes) -> bool:
        sent.append(data)
        return True

    forward = one.fast_path(send)
    published = encode("delta", {"text": "a\u2028\n"}, FrameId(1, 1))
    assert not forward(published)  # The first piece replaces, so it needs a look.
    both = [StreamFrame(FrameId(1, 1), published), delta(2, "b")]
    assert one.frames(both[:1]).data == other.frames(both[:1]).data
    assert forward(both[1].data)
    assert sent == [other.frames(both[1:]).data]
    assert not forward(encode("tool_call", {"name": "x"}, FrameId(1, 3)))


@BOTH
def test_a_failed_turn_is_a_failed_task_that_says_why(wire: Wire) -> None:
    rendered = stream(wire).frames([frame(1, "error", {"turnId": TURN.id, **ApiError(Code.UPSTREAM_ERROR).problem()})])
    (told,) = events(rendered.data)
    status = told["statusUpdate"]["status"]
    assert (status["state"], rendered.end) == ("TASK_STATE_FAILED", End.CLEAN)
    assert status["message"]["parts"] == [{"text": "The model did not answer."}]
    assert status["message"]["metadata"] == {"code": "upstream_error", "retryable": True}


@BOTH
def test_a_stream_that_cannot_go_on_is_broken_off_or_says_why(wire: Wire) -> None:
    assert stream(wire).interrupted() == ((), End.BROKEN)
    assert b'"message":"This agent has no such task."' in stream(wire).failed(ApiError(Code.TURN_NOT_FOUND)).data
    # Clients of HTTP+JSON take any other event for an update.
    assert stream(rest_wire()).failed(ApiError(Code.TURN_NOT_FOUND)).data.startswith(b"event: error\n")


def test_a_stored_turn_is_a_task_with_its_history_and_its_answer() -> None:
    said = TurnMessage(id=new_id("msg"), client_id="m1", role="user", content="Price?", created_at=NOW)
    answer = TurnMessage.model_validate({"id": new_id("msg"), "created_at": NOW, **ANSWER})
    turn = TURN.model_copy(update={"status": "completed", "ended_at": NOW})
    stored = StoredTurn(turn=turn, input=(said,), output=(answer,))
    task = stored_task(stored, CONTEXT)
    assert task["artifacts"][0]["parts"] == [{"text": ANSWER["content"]}]
    assert [(each["messageId"], each["role"]) for each in task["history"]] == [("m1", "ROLE_USER")]
    assert "history" not in stored_task(stored, CONTEXT, 0)
    assert "artifacts" not in stored_task(stored, CONTEXT, artifacts=False)


def test_a_card_names_both_bindings_and_the_key() -> None:
    agent = AgentConfig(name="Mia", model=ModelChoice(name="m"), suggested_questions=("Price?",))
    card = card_of(agent, 3, "https://a.example/a2a", "https://a.example/docs/a2a")
    assert {each["protocolBinding"] for each in card["supportedInterfaces"]} == {"JSONRPC", "HTTP+JSON"}
    assert card["skills"][0]["examples"] == ["Price?"]
    assert card["description"] == "The agent Mia."
