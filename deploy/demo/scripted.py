"""Pure: the scripted model of tests and load tests. Its name says what it does: `scripted/tokens=64,delay=20`."""

import random
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final
from zlib import crc32

import orjson

from deploy.demo.answer import Answer, Call, Fault, estimated_tokens, last_user_text, usage_of

PREFIX: Final = "scripted/"
MAX_TOKENS: Final = 100_000
_FAULTS: Final = ("cut", "hang", "error_chunk", "nofinish")
_WORDS: Final = (
    "pizza ",
    "oven ",
    "basil ",
    "crust ",
    "order ",
    "hot ",
    "box ",
    "sauce ",
    "cheese ",
    "slice ",
    "dough ",
    "fresh ",
)
# What naive code between a model and a browser breaks: several bytes a character, characters beyond 16 bits, and the
# three line separators that some SSE clients split lines at.
_HARD: Final = (
    "crème ",
    "日本語 ",
    "🍕",
    "👩‍🍳 ",
    "line\u2028break ",
    "next\u0085line ",
    "para\u2029graph ",
    "\n",
    '"quoted" ',
    "back\\slash ",
    "e\u0301 ",
)


class KnobError(ValueError):
    """The model's name cannot be read; the text says why."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Knobs:
    """
    tokens      pieces of the answer (default 64)
    delay       milliseconds between pieces; 0 writes all of them at once (default 0)
    first       milliseconds before the first piece
    text        `fixed`: always the same words · `echo`: scripted_answer() of the last user message
                `json`: {"said": that message}
                `verdict`: a judge of checks, for whom an answer passes that contains the criterion
    vary        1: each request with the same prompt gets another text, the n-th (from 0) with variant n
    fail        an HTTP status, `cut`, `hang`, `error_chunk` or `nofinish`
    after       pieces before the fault (default: half of them; before a status: none)
    fail_times  only the first so many requests with the same prompt fail (default: all)
    tool        `NAME:{json}`: calls that tool first, and answers once its result is there; may be repeated
    rounds      how often the tools are called before there is text (default 1)
    usage       `plain`, `full` (with cached and reasoning tokens) or `none`
    """

    tokens: int = 64
    delay: float = 0.0
    first: float = 0.0
    text: str = "fixed"
    vary: bool = False
    fail: str = ""
    after: int | None = None
    fail_times: int | None = None
    tools: tuple[tuple[str, str], ...] = ()
    rounds: int = 1
    usage: str = "plain"


def read_knobs(model: str) -> Knobs:
    """Raises KnobError."""
    given: dict[str, Any] = {}
    tools: list[tuple[str, str]] = []
    # A comma parts two knobs only where a name and `=` follow it: a tool's JSON has commas too.
    for part in re.split(r",(?=[a-z_]+=)", model.removeprefix(PREFIX)):
        name, equals, value = part.partition("=")
        if name == "tool":
            tools.append(_tool(value))
        elif equals:
            given[name] = _value(name, value)
        elif part:
            raise KnobError(f"{part!r} is no knob: write name=value")
    return Knobs(**given, tools=tuple(tools))


def _value(name: str, value: str) -> Any:
    try:
        match name:
            case "tokens" | "after" | "fail_times" | "rounds":
                return min(max(int(value), 0), MAX_TOKENS)
            case "delay" | "first":
                return min(max(float(value), 0.0), 600_000.0)
            case "vary":
                return bool(int(value))
    except ValueError:
        raise KnobError(f"{name} wants a number, not {value!r}") from None
    choices = {"text": ("fixed", "echo", "json", "verdict"), "usage": ("plain", "full", "none"), "fail": _FAULTS}
    if value in choices.get(name, ()) or (name == "fail" and re.fullmatch(r"[45]\d\d", value)):
        return value
    raise KnobError(f"there is no knob {name}={value}")


def _tool(value: str) -> tuple[str, str]:
    name, _, arguments = value.partition(":")
    return name, arguments or "{}"


def scripted_answer(user_text: str, tokens: int, variant: int = 0) -> str:
    """What `text=echo` answers to `user_text`: a test that knows the question knows the right answer."""
    return "".join(scripted_pieces(user_text, tokens, variant))


def scripted_pieces(user_text: str, tokens: int, variant: int = 0) -> list[str]:
    """The chunks of that answer.

    The first names the question and the variant; every third question gets hard characters.
    """
    seed = crc32(user_text.encode("utf-8", "surrogatepass"))
    chosen = random.Random(seed * 1_000_003 + variant)
    words = _WORDS + _HARD if seed % 3 == 0 else _WORDS
    head = f"[{seed:08x}.{variant}] "
    return [head, *chosen.choices(words, k=tokens - 1)] if tokens else []


def _verdict(question: str) -> dict[str, Any]:
    """Of a question of the judge of checks; any other one does not pass."""
    try:
        asked = orjson.loads(question)
        passes = asked["criterion"].casefold() in asked["judged"]["agent"].casefold()
    except (orjson.JSONDecodeError, KeyError, TypeError, AttributeError):
        return {"passes": False, "reason": "This is not the question of a judge."}
    return {"passes": passes, "reason": "It is said." if passes else "It is not said."}


def _json_pieces(value: dict[str, Any], tokens: int) -> list[str]:
    """An answer in the form that structured output asks for, in at most so many pieces."""
    text = orjson.dumps(value).decode()
    size = len(text) // max(tokens, 1) + 1
    return [text[start : start + size] for start in range(0, len(text), size)]


_FIXED: Final = scripted_pieces("plain", 4096)


def _fixed_pieces(tokens: int) -> list[str]:
    return (_FIXED * (tokens // len(_FIXED) + 1))[:tokens]


def scripted_reply(
    knobs: Knobs, messages: Sequence[dict[str, Any]], seen: int, *, tools_allowed: bool = True
) -> Answer:
    """`seen`: how many requests with this very prompt came before."""
    prompt_tokens = estimated_tokens(messages)
    fault = _fault(knobs) if knobs.fail and (knobs.fail_times is None or seen < knobs.fail_times) else None
    pauses: dict[str, Any] = {"delay_s": knobs.delay / 1000, "first_s": knobs.first / 1000, "fault": fault}
    rounds_made = _tool_rounds(messages)
    if knobs.tools and tools_allowed and rounds_made < knobs.rounds:
        calls = [
            Call(id=f"call_{rounds_made}_{index}", name=name, arguments=arguments)
            for index, (name, arguments) in enumerate(knobs.tools)
        ]
        return Answer(calls=calls, usage=_usage(knobs, prompt_tokens, 8 * len(calls)), **pauses)
    if knobs.text == "json":
        pieces = _json_pieces({"said": last_user_text(messages)}, knobs.tokens)
    elif knobs.text == "verdict":
        pieces = _json_pieces(_verdict(last_user_text(messages)), knobs.tokens)
    elif knobs.text == "echo" or knobs.vary:
        pieces = scripted_pieces(last_user_text(messages), knobs.tokens, seen if knobs.vary else 0)
    else:
        pieces = _fixed_pieces(knobs.tokens)
    return Answer(pieces=pieces, usage=_usage(knobs, prompt_tokens, knobs.tokens), **pauses)


def _fault(knobs: Knobs) -> Fault:
    return Fault(kind=knobs.fail, after=knobs.tokens // 2 if knobs.after is None else knobs.after)


def _usage(knobs: Knobs, prompt_tokens: int, completion_tokens: int) -> dict[str, Any] | None:
    return None if knobs.usage == "none" else usage_of(prompt_tokens, completion_tokens, details=knobs.usage == "full")


def _tool_rounds(messages: Sequence[dict[str, Any]]) -> int:
    """Answers with tool calls since the user last spoke."""
    rounds = 0
    for message in reversed(messages):
        if message.get("role") == "user":
            break
        rounds += bool(message.get("tool_calls"))
    return rounds


def prompt_key(model: str, messages: Sequence[dict[str, Any]]) -> int:
    """Tells prompts apart for `fail_times` and `vary`."""
    return hash((model, orjson.dumps(messages)))
