"""Pure: why an answer ended, in the words of a dozen providers, as one of Parley's reasons or a fault.

Read from the documentation or the issue trackers of OpenAI, Azure, Anthropic, Gemini and Vertex, Mistral, DeepSeek,
Groq, OpenRouter, Cohere, Zhipu, Bedrock, vLLM, SGLang, TGI, llama.cpp, Ollama and LiteLLM. Compared without case.
"""

from typing import Any, Final, Literal, NamedTuple

from services.agent_worker.model.quirks import Quirk
from shared.contracts.turns import FinishReason

Meaning = Literal["stop", "length", "tool_calls", "content_filter", "fault", "unknown"]

_WORDS: Final[dict[Meaning, str]] = {
    "stop": """
        stop end_turn end eos eos_token stop_sequence stop_token complete completed finish finished done
        end_of_turn eot endoftext normal success pause_turn
    """,
    "length": """
        length max_tokens max_token model_length max_output_tokens max_completion_tokens max_length
        token_limit context_length context_window_exceeded model_context_window_exceeded truncated incomplete
        output_limit error_limit
    """,
    "tool_calls": "tool_calls tool_call tool_use function_call function_calls",
    "content_filter": """
        content_filter content_filtered content-filter safety recitation blocklist prohibited_content spii
        image_safety language refusal guardrail_intervened guardrail sensitive moderation model_armor
        error_toxic flagged
    """,
    "fault": """
        error abort aborted cancelled canceled failed failure timeout interrupted exception server_error
        internal_error network_error insufficient_system_resource overloaded load_shedding preempted
        malformed_function_call malformed_response unexpected_tool_call too_many_tool_calls
        missing_thought_signature
    """,
}
_MEANINGS: Final[dict[str, Meaning]] = {word: meaning for meaning, words in _WORDS.items() for word in words.split()}
_OPENAIS: Final = frozenset({"stop", "length", "tool_calls", "function_call", "content_filter"})
# Written by servers that print a missing reason instead of leaving it out.
_NOTHING: Final = frozenset({"", "null", "none"})
_PREFIXES: Final = ("finishreason.", "finish_reason_", "finishreason_")


class Finish(NamedTuple):
    """`reason` is None for a fault. `is_known`: tool calls of the answer may be run."""

    reason: FinishReason | None
    is_known: bool = True
    quirk: Quirk | None = None


def finish_of(raw: Any) -> Finish | None:
    """What a chunk's `finish_reason` means; None where it has none."""
    if raw is None:
        return None
    word = raw.strip().lower() if isinstance(raw, str) else "?"
    for prefix in _PREFIXES:
        word = word.removeprefix(prefix)
    if word in _NOTHING:
        return None
    meaning: Meaning = _MEANINGS.get(word, "unknown")
    if meaning == "fault":
        return Finish(None, quirk=Quirk.FOREIGN_REASON)
    if meaning == "unknown":
        return Finish("stop", is_known=False, quirk=Quirk.UNKNOWN_REASON)
    return Finish(meaning, quirk=None if raw in _OPENAIS else Quirk.FOREIGN_REASON)
