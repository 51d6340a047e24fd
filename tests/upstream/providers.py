"""The matrix: what each provider or server documents for the same six answers.

Written from the providers' references and from issues about them: each has its own shapes of tool calls, reasoning,
usage and errors.
"""

from dataclasses import dataclass, field
from typing import Any

from tests.upstream.script import DONE, Behaviour, Outcome, Piece, Reply, call, delta, event, refused, usage

_PARIS, _ROME = '{"city": "Paris"}', '{"city": "Rome"}'
_BOTH = (("weather", _PARIS), ("weather", _ROME))


@dataclass(frozen=True, kw_only=True)
class Provider:
    """`filtered` and `broken` are how its streams end when a filter acts and when an error comes after text."""

    kind: str
    role_first: bool = True
    before: tuple[Piece, ...] = ()
    more: dict[str, Any] = field(default_factory=dict)
    whole_calls: bool = False
    same_index: bool = False
    no_index: bool = False
    no_ids: bool = False
    call_members: dict[str, Any] = field(default_factory=dict)
    reasoning: tuple[dict[str, Any], ...] = ({"reasoning_content": "Hm."},)
    stop: str = "stop"
    called: str = "tool_calls"
    cut: str = "length"
    filtered: str = "content_filter"
    broken: bytes = b""
    broken_kind: str = "server"
    broken_is_retryable: bool = True
    usage_event: dict[str, Any] | None = None
    options: dict[str, Any] = field(default_factory=dict)

    def behaviours(self, name: str) -> dict[str, Behaviour]:
        plain = (delta(content="Hel", more=self.more), delta(content="lo", more=self.more))
        thought = tuple(delta(more=self.more, **members) for members in self.reasoning)
        calls = self._calls()
        called = Outcome(finish="tool_calls", calls=_BOTH, usage=(3, 2, 5))
        broken = Reply(pieces=(*self._head(), *plain, self.broken))
        said = Outcome(text="Hello", usage=(3, 2, 5))
        return {
            f"{name}-plain": self._behaviour(self._reply(*plain, finish=self.stop), said),
            f"{name}-tools-in-parallel": self._behaviour(self._reply(*calls, finish=self.called), called),
            f"{name}-tools-with-reasoning": self._behaviour(
                self._reply(*thought, *calls, finish=self.called),
                Outcome(finish="tool_calls", calls=_BOTH, usage=(3, 2, 5), reasoning="Hm."),
            ),
            f"{name}-cut": self._behaviour(
                self._reply(*plain, finish=self.cut), Outcome(text="Hello", finish="length", usage=(3, 2, 5))
            ),
            f"{name}-filtered": self._behaviour(
                self._reply(*plain, finish=self.filtered),
                Outcome(text="Hello", finish="content_filter", usage=(3, 2, 5)),
            ),
            f"{name}-error-in-mid-stream": self._behaviour(
                broken,
                Outcome(text="Hello", finish=None, fault=self.broken_kind, retryable=self.broken_is_retryable),
            ),
        }

    def _behaviour(self, reply: Reply, outcome: Outcome) -> Behaviour:
        return Behaviour(replies=(reply,), outcome=outcome, options=self.options)

    def _head(self) -> tuple[Piece, ...]:
        return (*self.before, *((delta(role="assistant", content=""),) if self.role_first else ()))

    def _reply(self, *pieces: Piece, finish: str) -> Reply:
        used = {"choices": [], "usage": usage(3, 2, total_tokens=5)} if self.usage_event is None else self.usage_event
        return Reply(pieces=(*self._head(), *pieces, delta(finish, more=self.more), event(used), DONE))

    def _calls(self) -> tuple[bytes, ...]:
        chunks: list[bytes] = []
        for index, arguments in enumerate((_PARIS, _ROME)):
            place: dict[str, Any] = {} if self.no_index else {"index": 0 if self.same_index else index}
            known = {} if self.no_ids else {"id": f"call_{index}"}
            opening = {**place, **known, "type": "function", **self.call_members}
            if self.whole_calls:
                chunks.append(delta(tool_calls=[call("weather", arguments, **opening)], more=self.more))
                continue
            chunks.append(delta(tool_calls=[call("weather", "", **opening)], more=self.more))
            chunks += [
                delta(tool_calls=[call(arguments=piece, **place)], more=self.more)
                for piece in (arguments[:6], arguments[6:])
            ]
        return tuple(chunks)


_AZURE_HEAD = event(
    {
        "choices": [],
        "prompt_filter_results": [{"prompt_index": 0, "content_filter_results": {"hate": {"filtered": False}}}],
    }
)
_DETAILS = {"type": "reasoning.text", "text": "Hm.", "format": "anthropic-claude-v1", "index": 0}

_PROVIDERS: dict[str, Provider] = {
    "openai": Provider(
        kind="openai",
        more={"service_tier": "default", "system_fingerprint": "fp_1", "usage": None, "obfuscation": "x7"},
        broken=event(
            {"error": {"message": "The server had an error", "type": "server_error", "param": None, "code": None}}
        ),
    ),
    "azure": Provider(
        kind="azure",
        before=(_AZURE_HEAD,),
        broken=event({"error": {"code": "429", "message": "Rate limit is exceeded"}}),
        broken_kind="busy",
    ),
    "anthropic": Provider(
        kind="anthropic",
        stop="end_turn",
        called="tool_use",
        cut="max_tokens",
        filtered="refusal",
        broken=b"event: error\n"
        + event({"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}),
        broken_kind="busy",
        usage_event={"choices": [], "usage": {"input_tokens": 3, "output_tokens": 2}},
    ),
    "gemini": Provider(
        kind="gemini",
        role_first=False,
        whole_calls=True,
        no_index=True,
        call_members={"extra_content": {"google": {"thought_signature": "EjQKMg=="}}},
        reasoning=({"role": "assistant", "content": "", "reasoning_content": "Hm."},),
        cut="MAX_TOKENS",
        filtered="SAFETY",
        broken=event([{"error": {"code": 503, "message": "The model is overloaded.", "status": "UNAVAILABLE"}}]),
        broken_kind="busy",
    ),
    "mistral": Provider(
        kind="mistral",
        whole_calls=True,
        reasoning=({"content": [{"type": "thinking", "thinking": [{"type": "text", "text": "Hm."}], "closed": True}]},),
        cut="model_length",
        broken=event(
            {"object": "error", "message": "Service unavailable", "type": "internal_server_error", "code": "3700"}
        ),
    ),
    "deepseek": Provider(
        kind="deepseek",
        before=(b": keep-alive\n\n",),
        reasoning=({"content": None, "reasoning_content": "H"}, {"content": None, "reasoning_content": "m."}),
        broken=delta("insufficient_system_resource", content=""),
    ),
    "groq": Provider(
        kind="groq",
        reasoning=({"reasoning": "Hm."},),
        broken=event(
            {
                "error": {
                    "message": "Failed to call a function.",
                    "type": "invalid_request_error",
                    "code": "tool_use_failed",
                    "failed_generation": "x",
                    "status_code": 400,
                }
            }
        ),
        broken_kind="refused",
        broken_is_retryable=False,
        usage_event={"choices": [], "x_groq": {"id": "req_1", "usage": usage(3, 2, total_tokens=5, queue_time=0.1)}},
    ),
    "openrouter": Provider(
        kind="openrouter",
        before=(b": OPENROUTER PROCESSING\n\n",),
        more={"provider": "Anthropic"},
        reasoning=({"role": "assistant", "content": "", "reasoning": "Hm.", "reasoning_details": [_DETAILS]},),
        broken=event(
            {
                "error": {"code": 502, "message": "Provider disconnected"},
                "choices": [
                    {"index": 0, "delta": {"content": ""}, "finish_reason": "error", "native_finish_reason": "x"}
                ],
            }
        ),
    ),
    "vllm": Provider(
        kind="vllm",
        reasoning=({"reasoning": "Hm."},),
        broken=delta("abort") + DONE,
    ),
    "sglang": Provider(
        kind="sglang",
        more={"usage": None},
        reasoning=({"reasoning_content": "Hm."},),
        broken=event(
            {"error": {"object": "error", "message": "Internal error", "type": "InternalServerError", "code": 500}}
        )
        + DONE,
    ),
    "llama_cpp": Provider(
        kind="llama_cpp",
        filtered="content_filter",
        broken=event({"error": {"code": 500, "message": "slot was stolen", "type": "server_error"}}),
        usage_event={"choices": [], "timings": {"prompt_n": 3, "predicted_n": 2, "predicted_per_second": 42.1}},
    ),
    "ollama": Provider(
        kind="ollama",
        role_first=False,
        whole_calls=True,
        same_index=True,
        reasoning=({"role": "assistant", "content": "", "reasoning": "Hm."},),
        called="stop",
        broken=event(
            {
                "error": {
                    "message": "model runner has unexpectedly stopped",
                    "type": "api_error",
                    "param": None,
                    "code": None,
                }
            }
        ),
    ),
    "litellm": Provider(
        kind="litellm",
        call_members={"provider_specific_fields": {"thought_signature": "EjQKMg=="}},
        reasoning=(
            {
                "reasoning_content": "Hm.",
                "thinking_blocks": [{"type": "thinking", "thinking": "Hm.", "signature": "s"}],
            },
        ),
        broken=event(
            {"error": {"message": "litellm.MidStreamFallbackError: x", "type": "None", "param": "None", "code": "503"}}
        ),
        broken_kind="busy",
    ),
}

PROVIDERS: dict[str, Behaviour] = {
    name: one for key, provider in _PROVIDERS.items() for name, one in provider.behaviours(key).items()
}
KINDS: dict[str, str] = {name: provider.kind for name, provider in _PROVIDERS.items()}
# Azure refuses a prompt as well as it ends an answer.
PROVIDERS["azure-prompt-filtered"] = Behaviour(
    replies=(
        refused(
            400,
            {
                "error": {
                    "message": "filtered",
                    "code": "content_filter",
                    "innererror": {"code": "ResponsibleAIPolicyViolation"},
                }
            },
        ),
    ),
    outcome=Outcome(finish=None, fault="refused", retryable=False),
)
