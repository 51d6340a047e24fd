from typing import Any

import pytest

from services.gateway.faces.answer import answer_text, citations_of
from services.gateway.faces.json_rpc import RpcError, RpcRequest, as_rpc, parse_rpc
from shared.contracts.errors import ApiError, Code


def test_a_request_has_an_id_and_a_notification_has_none() -> None:
    assert parse_rpc({"jsonrpc": "2.0", "id": "a", "method": "m"}) == RpcRequest("a", "m", {})
    assert parse_rpc({"jsonrpc": "2.0", "method": "m", "params": {"x": 1}}) == RpcRequest(None, "m", {"x": 1})


@pytest.mark.parametrize(
    ("body", "code", "request_id"),
    [
        ([], -32600, None),
        ([{"jsonrpc": "2.0", "id": 1, "method": "m"}], -32600, None),
        ("text", -32600, None),
        ({"jsonrpc": "2.0", "id": None, "method": "m"}, -32600, None),
        ({"jsonrpc": "2.0", "id": True, "method": "m"}, -32600, None),
        ({"jsonrpc": "2.0", "id": 1.5, "method": "m"}, -32600, None),
        ({"jsonrpc": "2.0", "id": "x" * 201, "method": "m"}, -32600, None),
        ({"id": 1, "method": "m"}, -32600, 1),
        ({"jsonrpc": "1.0", "id": 1, "method": "m"}, -32600, 1),
        ({"jsonrpc": "2.0", "id": 1}, -32600, 1),
        ({"jsonrpc": "2.0", "id": 1, "method": ""}, -32600, 1),
        ({"jsonrpc": "2.0", "id": 1, "result": {}}, -32600, 1),
        ({"jsonrpc": "2.0", "id": 1, "method": "m", "params": []}, -32602, 1),
    ],
)
def test_what_is_no_request_is_refused_with_the_id_that_it_has(body: Any, code: int, request_id: Any) -> None:
    with pytest.raises(RpcError) as raised:
        parse_rpc(body)
    wire = raised.value.wire()
    assert (wire["error"]["code"], wire["id"]) == (code, request_id)


def test_an_error_of_the_api_keeps_its_status_and_says_when_to_come_back() -> None:
    error = as_rpc(ApiError(Code.RATE_LIMITED))
    assert (error.status, error.headers) == (429, {"Retry-After": "1"})
    assert error.wire()["error"]["data"]["code"] == "rate_limited"


def test_places_of_citations_are_those_of_the_whole_text() -> None:
    passage = {"id": "psg_1", "sourceId": "src_1", "title": "Menu"}
    messages: list[dict[str, Any]] = [
        {"role": "assistant", "content": "One. "},
        {"role": "tool", "content": "not shown"},
        {
            "role": "assistant",
            "content": "Two [1].",
            "citations": [{"marker": 1, "start": 4, "end": 7, "passage": passage}],
        },
    ]
    text = answer_text(messages)
    assert text == "One. Two [1]."
    (citation,) = citations_of(messages)
    assert text[citation["start"] : citation["end"]] == "[1]"
