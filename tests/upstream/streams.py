"""Noise in the stream, and bodies that are no stream."""

import json

from tests.upstream.script import DONE, Behaviour, Reply, behaviour, delta, event, fault, stream, text, usage, whole

_MESSAGE = {"index": 0, "message": {"role": "assistant", "content": "Hello"}, "finish_reason": None}
_SECOND = event({"choices": [{"index": 1, "delta": {"content": "WRONG"}, "finish_reason": None}]})
_BOTH = event({"choices": [{"index": 1, "delta": {"content": "WRONG"}}, {"index": 0, "delta": {"content": "lo"}}]})

STREAMS: dict[str, Behaviour] = {
    "plain": behaviour(stream(text("Hel", "lo")), text="Hello"),
    "empty-data": behaviour(stream(b"data:\n\n", text("Hello"), b"data: \n\n"), text="Hello", quirk="noise"),
    "ping-data": behaviour(
        stream(b"data: ping\n\n", text("Hel"), b"data: ping\n\n", text("lo")), text="Hello", quirk="noise"
    ),
    "keep-alive-text": behaviour(stream(b"data: keep-alive\n\n", text("Hello")), text="Hello", quirk="noise"),
    "json-heartbeats": behaviour(
        stream(b"data: null\n\n", b"data: 1\n\n", b'data: "ping"\n\n', b"data: []\n\n", text("Hello")), text="Hello"
    ),
    "typed-ping": behaviour(stream(b'event: ping\ndata: {"type": "ping"}\n\n', text("Hello")), text="Hello"),
    "comments": behaviour(stream(b": OPENROUTER PROCESSING\n\n", text("Hello")), text="Hello"),
    "crlf": behaviour(stream(text("Hello").replace(b"\n", b"\r\n")), text="Hello"),
    "no-space-after-data": behaviour(stream(text("Hello").replace(b"data: ", b"data:")), text="Hello"),
    "byte-order-mark": behaviour(stream(b"\xef\xbb\xbf: hi\n\n", text("Hello")), text="Hello"),
    "second-choice-only": behaviour(stream(text("Hel"), _SECOND, text("lo")), text="Hello", quirk="other_choice"),
    "second-choice-first": behaviour(stream(text("Hel"), _BOTH), text="Hello"),
    "message-as-delta": behaviour(stream(event({"choices": [_MESSAGE]})), text="Hello", quirk="message_as_delta"),
    "null-delta": behaviour(stream(event({"choices": [{"index": 0, "delta": None}]}), text("Hello")), text="Hello"),
    "no-choices": behaviour(stream(event({"id": "x"}), event({"choices": None}), text("Hello")), text="Hello"),
    "role-with-each-chunk": behaviour(
        stream(delta(role="assistant", content="Hel"), delta(role="assistant", content="lo")), text="Hello"
    ),
    "text-with-finish": behaviour(stream(text("Hel"), delta("stop", content="lo"), finish=None), text="Hello"),
    "finish-twice": behaviour(stream(text("Hello"), delta("stop")), text="Hello"),
    "whole-json": behaviour(whole({"content": "Hello"}), text="Hello", quirk="whole_body"),
    "whole-json-as-stream": behaviour(
        whole({"content": "Hello"}, content_type="text/event-stream"), text="Hello", quirk="whole_body"
    ),
    "whole-json-as-text": behaviour(whole({"content": "Hello"}, content_type="text/plain"), text="Hello"),
    "whole-json-in-an-event": behaviour(
        stream(event({"choices": [_MESSAGE | {"finish_reason": "stop"}]}), finish=None), text="Hello"
    ),
    "whole-json-with-calls": behaviour(
        whole(
            {
                "content": None,
                "tool_calls": [
                    {"id": name, "type": "function", "function": {"name": "look_up", "arguments": "{}"}}
                    for name in "ab"
                ],
            },
            finish="tool_calls",
            usage=usage(3, 2),
        ),
        finish="tool_calls",
        calls=(("look_up", "{}"), ("look_up", "{}")),
        usage=(3, 2, 5),
    ),
    "stream-that-says-json": behaviour(
        Reply(pieces=(text("Hello"), delta("stop"), DONE), content_type="application/json"), text="Hello"
    ),
    "byte-order-mark-before-data": behaviour(stream(b"\xef\xbb\xbf" + text("Hello")), text="Hello"),
    "choice-index-as-text": behaviour(
        stream(event({"choices": [{"index": "0", "delta": {"content": "Hello"}}]})), text="Hello"
    ),
    "whole-message-behind-the-deltas": behaviour(
        stream(text("Hel", "lo"), event({"choices": [{**_MESSAGE, "delta": {}}]})), text="Hello"
    ),
    "json-lines": behaviour(
        Reply(
            pieces=tuple(
                json.dumps({"choices": [{"index": 0, "delta": {"content": part}, "finish_reason": end}]}).encode()
                + b"\n"
                for part, end in (("Hel", None), ("lo", "stop"))
            ),
            content_type="application/x-ndjson",
        ),
        text="Hello",
    ),
    "legacy-text": behaviour(stream(event({"choices": [{"index": 0, "text": "Hello"}]})), text="Hello"),
    "done-without-finish": behaviour(stream(text("Hello"), finish=None), text="Hello", quirk="missing_finish_reason"),
    "done-without-finish-is-a-fault": Behaviour(
        replies=(stream(text("Hello"), finish=None),),
        outcome=fault(kind="cut", retryable=True, requests=1, text="Hello").outcome,
        options={"done_without_finish": "fault"},
    ),
    "end-without-done": behaviour(stream(text("Hello"), done=False), text="Hello"),
    "finish-and-cut": behaviour(stream(text("Hello"), delta("stop"), None, finish=None, done=False), text="Hello"),
    "nothing": fault(Reply(), kind="cut", retryable=True, requests=3),
    "done-alone": fault(Reply(pieces=(DONE,)), kind="cut", retryable=True, requests=3),
    "web-page": fault(
        Reply(pieces=(b"<html><body>Welcome</body></html>",), content_type="text/html"),
        kind="cut",
        retryable=True,
        requests=3,
    ),
    "broken-json": behaviour(
        Reply(pieces=(b'data: {"choices":[{"delta":{"content":"Hel\n\n',)),
        stream(text("Hello")),
        text="Hello",
        requests=2,
    ),
    "cut-before-text": behaviour(Reply(pieces=(b": x\n\n", None)), stream(text("Hello")), text="Hello", requests=2),
    "cut-in-text": fault(
        Reply(pieces=(text("Hel"), 0.05, None)), kind="network", retryable=True, requests=1, text="Hel"
    ),
    "end-in-text": fault(Reply(pieces=(text("Hel"),)), kind="cut", retryable=True, requests=1, text="Hel"),
}
