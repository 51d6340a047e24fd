"""Tool calls without good ids, indexes, names or arguments."""

from tests.upstream.script import Behaviour, behaviour, call, calls, delta, stream

_A, _B = '{"order_id":"1042"}', '{"order_id":"7"}'
_TWO = (("look_up", _A), ("look_up", _B))


def _called(*pieces: bytes, found: tuple[tuple[str, str], ...] = _TWO, quirk: str | None = None) -> Behaviour:
    return behaviour(stream(*pieces, finish="tool_calls"), finish="tool_calls", calls=found, quirk=quirk)


_ONE = (("look_up", _A),)

TOOLS: dict[str, Behaviour] = {
    "one-call": _called(
        calls(call("look_up", "", index=0, id="call_1", type="function")),
        calls(call(arguments='{"order_id"', index=0)),
        calls(call(arguments=':"1042"}', index=0)),
        found=_ONE,
    ),
    "two-calls": _called(calls(call("look_up", _A, index=0, id="a")), calls(call("look_up", _B, index=1, id="b"))),
    "two-calls-interleaved": _called(
        calls(call("look_up", "", index=0, id="a"), call("look_up", "", index=1, id="b")),
        calls(call(arguments=_B[:5], index=1)),
        calls(call(arguments=_A[:5], index=0), call(arguments=_B[5:], index=1)),
        calls(call(arguments=_A[5:], index=0)),
    ),
    "two-in-one-chunk-without-index-and-id": _called(
        calls(call("look_up", _A), call("look_up", _B)), quirk="call_without_id"
    ),
    "two-equal-in-one-chunk-without-index-and-id": _called(
        calls(call("look_up", _A), call("look_up", _A)), found=(("look_up", _A), ("look_up", _A))
    ),
    "two-in-two-chunks-without-index-and-id": _called(
        calls(call("look_up", _A)), calls(call("look_up", _B)), quirk="joined_calls"
    ),
    "two-in-one-chunk-with-the-same-index": _called(calls(call("look_up", _A, index=0), call("look_up", _B, index=0))),
    "two-in-two-chunks-with-the-same-index": _called(
        calls(call("look_up", _A, index=0)), calls(call("look_up", _B, index=0)), quirk="joined_calls"
    ),
    "same-index-and-empty-ids": _called(
        calls(call("look_up", _A, index=0, id="")), calls(call("look_up", _B, index=0, id=""))
    ),
    "same-index-and-other-ids": _called(
        calls(call("look_up", _A, index=0, id="a")), calls(call("look_up", _B, index=0, id="b"))
    ),
    "same-id-twice": _called(
        calls(call("look_up", _A, index=0, id="a"), call("look_up", _B, index=1, id="a")), quirk="repeated_call_id"
    ),
    "same-id-twice-without-index": _called(calls(call("look_up", _A, id="a"), call("look_up", _B, id="a"))),
    "new-name-opens-a-call": _called(
        calls(call("look_up", '{"a":', index=0)),
        calls(call(arguments="1}", index=0)),
        calls(call("cancel", "{}", index=0)),
        found=(("look_up", '{"a":1}'), ("cancel", "{}")),
    ),
    "nameless-object-after-an-object": _called(calls(call("look_up", _A, index=0)), calls(call(arguments=_B, index=0))),
    "new-id-with-each-piece": _called(
        calls(call("look_up", _A[:5], index=0, id="a")), calls(call(arguments=_A[5:], index=0, id="b")), found=_ONE
    ),
    "name-with-each-piece": _called(
        calls(call("look_up", _A[:5], index=0, id="a")), calls(call("look_up", _A[5:], index=0, id="a")), found=_ONE
    ),
    "index-as-text": _called(
        calls(call("look_up", _A, index="0", id="a")), calls(call("look_up", _B, index="1", id="b"))
    ),
    "indexes-from-one": _called(
        calls(call("look_up", _B, index=2, id="b")), calls(call("look_up", _A, index=1, id="a"))
    ),
    "id-as-a-number": _called(calls(call("look_up", _A, index=0, id=17)), found=_ONE),
    "arguments-sent-again": _called(
        calls(call("look_up", _A[:9], index=0, id="a")),
        calls(call(arguments=_A[9:], index=0)),
        calls(call(arguments=_A, index=0)),
        found=_ONE,
        quirk="odd_arguments",
    ),
    "arguments-so-far-with-each-piece": _called(
        *(calls(call("look_up", _A[:size], index=0, id="a")) for size in (4, 11, len(_A))), found=_ONE
    ),
    "placeholder-then-arguments": _called(
        calls(call("look_up", "{}", index=0, id="a")), calls(call(arguments=_A, index=0)), found=_ONE
    ),
    "placeholder-then-pieces": _called(
        calls(call("look_up", "{}", index=0, id="a")),
        calls(call(arguments=_A[:6], index=0)),
        calls(call(arguments=_A[6:], index=0)),
        found=_ONE,
    ),
    "arguments-as-an-object": _called(calls(call("look_up", {"order_id": "1042"}, index=0, id="a")), found=_ONE),
    "arguments-in-a-string": _called(
        calls(call("look_up", '"{\\"order_id\\":\\"1042\\"}"', index=0, id="a")), found=_ONE
    ),
    "no-arguments": _called(calls(call("look_up", "", index=0, id="a")), found=(("look_up", "{}"),)),
    "null-arguments": _called(calls(call("look_up", None, index=0, id="a")), found=(("look_up", "{}"),)),
    "junk-behind-arguments": _called(calls(call("look_up", _A + "}", index=0, id="a")), found=_ONE),
    "nameless-empty-call-at-the-end": _called(
        calls(call("look_up", _A, index=0, id="a")),
        calls(call("", "", index=1, id="")),
        found=_ONE,
        quirk="nameless_call",
    ),
    "name-in-a-namespace": _called(calls(call("functions.look_up", _A, index=0, id="a")), found=_ONE, quirk="odd_name"),
    "name-with-spaces": _called(calls(call(" look_up\n", _A, index=0, id="a")), found=_ONE),
    "flat-entry": _called(calls({"index": 0, "id": "a", "name": "look_up", "arguments": _A}), found=_ONE),
    "legacy-function-call": behaviour(
        stream(
            delta(function_call={"name": "look_up", "arguments": ""}),
            delta(function_call={"arguments": _A}),
            finish="function_call",
        ),
        finish="tool_calls",
        calls=_ONE,
    ),
}
