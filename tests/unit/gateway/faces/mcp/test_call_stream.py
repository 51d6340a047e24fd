from datetime import UTC, datetime
from typing import Any

import mcp_types.methods as mcp
import orjson
import pytest

from services.gateway.faces.mcp.connections import Place, ids_of, new_connection
from services.gateway.faces.mcp.progress import STEP, Asked, CallStream
from services.gateway.faces.mcp.tools import OUTPUT, arguments_of, failure_of, result_of, slug_of, tool_shape
from services.gateway.faces.mcp.versions import HANDSHAKE, STATELESS, Revision
from services.gateway.streaming.renderer import End
from shared.contracts.agents import AgentConfig, ModelChoice, Variable
from shared.contracts.errors import ApiError, Code
from shared.contracts.frames import BEGINNING, FrameId, StreamFrame, encode, stream_frame
from shared.contracts.turns import Turn
from shared.ids import is_id, new_id, time_of

SESSION = new_id("ses")
TURN = Turn(
    id=new_id("trn"),
    session_id=SESSION,
    status="queued",
    agent_id=new_id("agt"),
    agent_version=3,
    created_at=datetime.now(UTC),
)
DONE: dict[str, Any] = {
    "turnId": TURN.id,
    "status": "completed",
    "finishReason": "stop",
    "messages": [{"role": "assistant", "content": "Hi."}],
    "usage": None,
}
VERSIONS = pytest.mark.parametrize("version", [STATELESS, *HANDSHAKE])


def stream(version: str | None = STATELESS, token: str | None = "t", after: FrameId = BEGINNING) -> CallStream:
    return CallStream(Asked(Revision(version), 7, token), TURN, after)


def frame(seq: int, event: str, data: dict[str, Any]) -> StreamFrame:
    return stream_frame(event, data, FrameId(1, seq))


def messages(data: bytes) -> list[dict[str, Any]]:
    blocks = [block.split(b"\n") for block in data.split(b"\n\n") if block]
    fields = [dict(line.split(b": ", 1) for line in block) for block in blocks]
    return [orjson.loads(field[b"data"]) for field in fields if field.get(b"data")]


def of_a_turn() -> list[StreamFrame]:
    return [
        frame(1, "started", {"turnId": TURN.id}),
        frame(2, "kb_retrieval", {"query": "price", "passages": []}),
        frame(3, "tool_call", {"toolCallId": "c", "name": "menu", "arguments": "{}"}),
        frame(4, "tool_result", {"toolCallId": "c", "name": "menu", "status": "ok", "result": "", "durationMs": 1}),
        *[frame(5 + n, "delta", {"text": "x" * 100}) for n in range(10)],
        frame(15, "done", DONE),
    ]


@VERSIONS
def test_every_message_of_a_stream_is_one_of_the_published_schema(version: str) -> None:
    *told, answer = messages(stream(version).frames(of_a_turn()).data)
    assert [each["params"]["message"] for each in told] == [
        "The agent has started",
        "Searching for: price",
        "Calling menu",
        *["Writing the answer"] * 4,
    ]
    assert [each["params"]["progress"] for each in told] == list(range(1, 8))
    for each in told:
        mcp.parse_server_notification(each["method"], version, each["params"])
    mcp.validate_server_result("tools/call", version, answer["result"])
    assert answer["id"] == 7


@VERSIONS
@pytest.mark.parametrize("result", [failure_of(ApiError(Code.SESSION_ENDED)), result_of(SESSION, "done", DONE)])
def test_every_result_is_one_of_the_published_schema(version: str, result: dict[str, Any]) -> None:
    mcp.validate_server_result("tools/call", version, Revision(version).result(result))


def test_without_a_token_nothing_but_the_answer_is_sent() -> None:
    rendered = stream(token=None).frames(of_a_turn())
    assert len(messages(rendered.data)) == 1
    assert rendered.end is End.CLEAN


def test_text_is_counted_and_a_step_is_told() -> None:
    one = stream()

    def send(data: bytes) -> bool:
        raise AssertionError("a delta is not sent")

    forward = one.fast_path(send)
    piece = "y" * 16
    slow = 0
    for seq in range(1, 200):
        published = encode("delta", {"text": piece}, FrameId(1, seq))
        if not forward(published):
            slow += 1
            one.frames([StreamFrame(FrameId(1, seq), published)])
    # The first piece, and then each step.
    assert 199 * 16 // STEP <= slow <= 199 * 18 // STEP + 1
    assert not forward(encode("tool_call", {"name": "x"}, FrameId(1, 200)))


def test_each_event_of_the_handshake_says_where_to_go_on() -> None:
    one = stream(HANDSHAKE[0])
    data = one.start() + one.frames(of_a_turn()[:2]).data
    ids = [line[4:].decode() for line in data.split(b"\n") if line.startswith(b"id: ")]
    places = [Place.parse(text) for text in ids]
    assert [(place.after, place.progress) for place in places if place] == [
        (BEGINNING, 0),
        (FrameId(1, 1), 1),
        (FrameId(1, 2), 2),
    ]
    assert {(place.turn_id, place.request_id, place.token) for place in places if place} == {(TURN.id, 7, "t")}
    assert b"id: " not in stream().start() + stream().frames(of_a_turn()).data
    # Clients of this revision parse the data of every event.
    assert stream(HANDSHAKE[1]).start() == b""


@pytest.mark.parametrize("text", ["", "x", "trn_1.0-0.e30", "{turn}.0-0.e30", "{turn}.0-0.W10", "{turn}.1-1.===="])
def test_what_is_no_id_of_an_event_is_none(text: str) -> None:
    text = text.replace("{turn}", TURN.id)
    assert Place.parse(text) is None


def test_a_draining_gateway_ends_the_stream_for_those_who_can_go_on_and_tells_the_others() -> None:
    assert stream(HANDSHAKE[0]).interrupted() == ((), End.CLEAN)
    (told,) = messages(stream().interrupted().data)
    assert told["error"]["code"] == -32603
    assert told["error"]["data"] | {"turnId": TURN.id, "sessionId": SESSION} == told["error"]["data"]


def test_a_call_has_the_same_ids_for_whoever_knows_its_connection_key_and_request() -> None:
    connection = new_connection()
    ids = ids_of(connection, "key_1", 3)
    assert ids == ids_of(connection, "key_1", 3)
    assert is_id("trn", ids.turn)
    assert is_id("ses", ids.session)
    assert time_of(ids.turn) == time_of(connection)
    others = [ids_of(connection, "key_1", "3"), ids_of(connection, "key_2", 3), ids_of(new_connection(), "key_1", 3)]
    assert len({ids.turn, *(other.turn for other in others)}) == 4


def test_a_tool_asks_for_the_variables_that_have_no_default() -> None:
    variables = {"plan": Variable(description="of the customer"), "city": Variable(default="Rome")}
    agent = AgentConfig(name="Mia", description="Pizza.", model=ModelChoice(name="m"), variables=variables)
    shape = tool_shape("mia", agent)
    assert shape["inputSchema"]["properties"]["metadata"]["required"] == ["plan"]
    assert "metadata" not in tool_shape("mia", agent.model_copy(update={"variables": {}}))["inputSchema"]["properties"]
    assert shape["outputSchema"] is OUTPUT
    for version in (STATELESS, *HANDSHAKE):
        page = Revision(version).cacheable({"tools": [shape]}, 1)
        mcp.validate_server_result("tools/list", version, page)


@pytest.mark.parametrize(
    "given",
    [
        *(None, [], {}, {"message": ""}, {"message": " "}, {"message": 1}, {"message": "a" * 100_001}),
        {"message": "a", "x": 1},
        {"message": "a", "sessionId": "ses_1", "metadata": {"a": "b"}},
    ],
)
def test_arguments_that_do_not_fit_are_refused_in_words(given: Any) -> None:
    with pytest.raises(ApiError) as raised:
        arguments_of(given)
    assert raised.value.code is Code.VALIDATION_FAILED


@pytest.mark.parametrize("name", [None, 1, "", "ask_", "ask_A", "tell_a", "ask_a@1", "ask_a_b"])
def test_a_name_that_no_tool_has_is_none(name: Any) -> None:
    assert slug_of(name) is None


def test_a_cancelled_turn_is_an_error_that_keeps_its_text() -> None:
    result = result_of(SESSION, "done", {**DONE, "status": "cancelled"})
    assert result["isError"]
    assert result["content"][0]["text"] == "Hi."
    assert result["structuredContent"]["sessionId"] == SESSION
