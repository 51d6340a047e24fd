"""Text, reasoning and usage in other places and shapes than OpenAI's."""

from typing import Any

from tests.upstream.script import DONE, Behaviour, Reply, behaviour, delta, event, stream, text, usage

_THINKS = {"think_tags": True}


def _parts(*parts: dict[str, Any]) -> bytes:
    return delta(content=list(parts))


def _used(*chunks: bytes, found: tuple[int, int, int] | None) -> Behaviour:
    return behaviour(Reply(pieces=(text("Hello"), delta("stop"), *chunks, DONE)), text="Hello", usage=found)


def _end(value: dict[str, Any]) -> bytes:
    return event({"choices": [], **value})


ANSWERS: dict[str, Behaviour] = {
    "surrogates-cut": behaviour(
        stream(
            event(b'{"choices":[{"delta":{"content":"\\ud83d"}}]}'),
            event(b'{"choices":[{"delta":{"content":"\\ude00"}}]}'),
        ),
        text="😀",
    ),
    "refusal": behaviour(stream(delta(content=None, refusal="I will not.")), text="I will not."),
    "content-in-parts": behaviour(stream(_parts({"type": "text", "text": "Hello"})), text="Hello"),
    "content-in-output-parts": behaviour(stream(_parts({"type": "output_text", "text": "Hello"})), text="Hello"),
    # --- reasoning
    "reasoning-content": behaviour(
        stream(delta(reasoning_content="Hm"), delta(reasoning_content="."), text("Hello")),
        text="Hello",
        reasoning="Hm.",
    ),
    "reasoning": behaviour(stream(delta(reasoning="Hm."), text("Hello")), text="Hello", reasoning="Hm."),
    "reasoning-under-two-names": behaviour(
        stream(delta(reasoning="Hm.", reasoning_content="Hm."), text("Hello")), text="Hello", reasoning="Hm."
    ),
    "reasoning-beside-text": behaviour(
        stream(delta(content="Hello", reasoning_content="Hm.")), text="Hello", reasoning="Hm."
    ),
    "null-reasoning-beside-text": behaviour(
        stream(delta(role="assistant", content="Hello", reasoning_content=None)), text="Hello"
    ),
    "thinking-parts": behaviour(
        stream(
            _parts({"type": "thinking", "thinking": [{"type": "text", "text": "Hm."}]}),
            _parts({"type": "text", "text": "Hello"}),
        ),
        text="Hello",
        reasoning="Hm.",
    ),
    "think-tags": behaviour(
        stream(text("<think>Hm.</think>\n\nHello")), text="Hello", reasoning="Hm.", options=_THINKS
    ),
    "think-tags-cut": behaviour(
        stream(text(*"<think>Hm < 1.</think>\nHello")), text="Hello", reasoning="Hm < 1.", options=_THINKS
    ),
    "think-tags-behind-space": behaviour(
        stream(text("\n<think>Hm.", "</think>Hello")), text="Hello", reasoning="Hm.", options=_THINKS
    ),
    "think-tags-empty": behaviour(
        stream(text("<think>\n</think>\n\n", "Hello")), text="Hello", reasoning="\n", options=_THINKS
    ),
    "think-tags-later": behaviour(
        stream(text("Use <think>", "x</think>")), text="Use <think>x</think>", options=_THINKS
    ),
    "think-tags-never-closed": behaviour(stream(text("<think>Hm.")), reasoning="Hm.", requests=3, options=_THINKS),
    "think-tags-absent": behaviour(stream(text("<", "b>Hello</b>")), text="<b>Hello</b>", options=_THINKS),
    "think-tags-begin-alone": behaviour(stream(text("<thi")), text="<thi", options=_THINKS),
    "think-tags-not-configured": behaviour(stream(text("<think>Hm.</think>")), text="<think>Hm.</think>"),
    # --- usage
    "usage": _used(_end({"usage": usage(3, 2, total_tokens=5)}), found=(3, 2, 5)),
    "usage-without-total": _used(_end({"usage": usage(3, 2)}), found=(3, 2, 5)),
    "usage-without-completion": _used(_end({"usage": {"prompt_tokens": 3, "total_tokens": 5}}), found=(3, 2, 5)),
    "usage-in-floats": _used(_end({"usage": usage(3.0, 2.0, total_tokens=5.0)}), found=(3, 2, 5)),
    "usage-then-empty": _used(
        _end({"usage": usage(3, 2)}), _end({"usage": {}}), _end({"usage": None}), found=(3, 2, 5)
    ),
    "usage-then-zeros": _used(
        _end({"usage": usage(3, 2)}), _end({"usage": usage(0, 0, total_tokens=0)}), found=(3, 2, 5)
    ),
    "usage-twice": _used(_end({"usage": usage(3, 1)}), _end({"usage": usage(3, 2)}), found=(3, 2, 5)),
    "usage-with-each-chunk": behaviour(
        Reply(
            pieces=(
                delta(content="Hel", more={"usage": usage(3, 1)}),
                delta("stop", content="lo", more={"usage": usage(3, 2)}),
                DONE,
            )
        ),
        text="Hello",
        usage=(3, 2, 5),
    ),
    "usage-in-the-choice": _used(
        event({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop", "usage": usage(3, 2)}]}), found=(3, 2, 5)
    ),
    "usage-in-x-groq": _used(_end({"x_groq": {"id": "req", "usage": usage(3, 2, total_tokens=5)}}), found=(3, 2, 5)),
    "usage-in-googles-words": _used(
        _end({"usageMetadata": {"promptTokenCount": 3, "candidatesTokenCount": 2, "totalTokenCount": 5}}),
        found=(3, 2, 5),
    ),
    "usage-in-anthropics-words": _used(_end({"usage": {"input_tokens": 3, "output_tokens": 2}}), found=(3, 2, 5)),
    "usage-in-timings": _used(
        _end({"timings": {"prompt_n": 3, "predicted_n": 2, "predicted_ms": 1.5}}), found=(3, 2, 5)
    ),
    "usage-in-bedrocks-words": _used(
        _end({"amazon-bedrock-invocationMetrics": {"inputTokenCount": 3, "outputTokenCount": 2}}), found=(3, 2, 5)
    ),
    "usage-negative": _used(_end({"usage": usage(-1, 2)}), found=None),
    "usage-not-a-number": _used(_end({"usage": usage("many", 2)}), found=None),
}
