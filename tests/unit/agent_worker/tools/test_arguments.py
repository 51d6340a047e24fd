import time
import warnings
from pathlib import Path
from typing import Any

import pytest

from services.agent_worker.tools.arguments import MAX_ARGUMENTS, BadArguments, CallKeys, checker
from shared.contracts.sessions import ToolCall

SCHEMA = {
    "type": "object",
    "properties": {"order_id": {"type": "string"}, "count": {"type": "integer", "minimum": 1}},
    "required": ["order_id"],
    "additionalProperties": False,
}


def call(arguments: str, name: str = "look_up") -> ToolCall:
    return ToolCall(id="call_1", name=name, arguments=arguments)


def test_good_arguments_are_read() -> None:
    assert checker(SCHEMA)(call('{"order_id":"1042","count":2}')) == {"order_id": "1042", "count": 2}
    assert checker({"type": "object"})(call("")) == {}


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ("{", "not valid JSON"),
        ("[1]", "not a JSON object"),
        ('"text"', "not a JSON object"),
        ("{}", "'order_id' is a required property"),
        ('{"order_id":7}', "$.order_id: 7 is not of type 'string'"),
        ('{"order_id":"1","count":0}', "less than the minimum"),
        ('{"order_id":"1","host":"evil"}', "Additional properties"),
        ('{"order_id":NaN}', "not valid JSON"),
        ('{"order_id":"' + "x" * MAX_ARGUMENTS + '"}', "too long"),
        ('{"order_id":' + "[" * 64 + "]" * 64 + "}", "nested too deeply"),
        ('{"order_id":' + '{"a":' * 900 + "1" + "}" * 901, "nested too deeply"),
        ('{"order_id":' + "[" * 5000, "not valid JSON"),
    ],
)
def test_bad_arguments_are_explained_to_the_model(arguments: str, complaint: str) -> None:
    with pytest.raises(BadArguments) as caught:
        checker(SCHEMA)(call(arguments))
    assert complaint in str(caught.value)
    assert len(str(caught.value)) < 700


def test_a_regular_expression_cannot_hold_the_worker() -> None:
    schema = {"properties": {"x": {"pattern": "^(a+)+$"}}, "patternProperties": {"^(a+)+$": {}}}
    started = time.monotonic()
    checker(schema)(call('{"x":"' + "a" * 40 + '!"}'))
    assert time.monotonic() - started < 10  # Backtracking would take hours.


@pytest.mark.parametrize(
    "schema",
    [
        {"$ref": "http://127.0.0.1:1/schema.json"},
        {"$ref": "file:///etc/passwd"},
        {"properties": {"x": {"$ref": "#/nowhere"}}},
        {"$ref": "#"},
        {"$dynamicRef": "http://127.0.0.1:1/x"},
    ],
)
def test_a_schema_that_refers_elsewhere_or_to_itself_is_unusable_and_fetches_nothing(schema: dict[str, Any]) -> None:
    with pytest.raises(BadArguments, match="not usable"):
        checker(schema)(call('{"x":1}'))


def test_a_schema_never_reads_a_file(tmp_path: Path) -> None:
    (tmp_path / "schema.json").write_text('{"type":"object"}')
    check = checker({"$ref": (tmp_path / "schema.json").as_uri()})
    with warnings.catch_warnings():
        # jsonschema warns before it fetches: the warning must not be what stops it here.
        warnings.simplefilter("ignore")
        with pytest.raises(BadArguments, match="not usable"):
            check(call("{}"))


def test_a_schema_may_refer_to_its_own_parts() -> None:
    schema = {"$defs": {"id": {"type": "string"}}, "properties": {"x": {"$ref": "#/$defs/id"}}}
    assert checker(schema)(call('{"x":"a"}')) == {"x": "a"}
    with pytest.raises(BadArguments):
        checker(schema)(call('{"x":1}'))


@pytest.mark.parametrize("arguments", ["[" * 900 + "]" * 900, "[" * 5000, "{", "\x00", '"\ud800"', ""])
def test_every_call_has_a_key(arguments: str) -> None:
    assert CallKeys("trn_1").next(call(arguments)).startswith("trn_1:")


def test_equal_calls_of_two_attempts_have_equal_keys() -> None:
    calls = [call('{"a":1,"b":2}'), call('{"a":1,"b":2}'), call('{"a":2}'), call('{"a":1,"b":2}', "other"), call("{")]
    keys, again = CallKeys("trn_1"), CallKeys("trn_1")
    first = [keys.next(each) for each in calls]
    assert [again.next(each) for each in [call('{"b": 2, "a": 1}'), *calls[1:]]] == first
    assert len(set(first)) == len(first)
    assert first[0].startswith("trn_1:")
    assert (first[0][-2:], first[1][-2:]) == (":1", ":2")
    assert CallKeys("trn_2").next(calls[0]) != first[0]
