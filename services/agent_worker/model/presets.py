"""What is known of each provider and model server: where it answers, how it takes its key, how it differs.

Sources: the providers' references of their OpenAI-compatible endpoints, and the default ports of the servers.
"""

from dataclasses import dataclass, field
from typing import Any, Final, Literal

KeyHeader = Literal["authorization", "api-key"]


@dataclass(frozen=True, kw_only=True)
class Preset:
    """`base_url` None: each customer has another one. `options`: members of `UpstreamOptions`."""

    base_url: str | None
    key_header: KeyHeader = "authorization"
    options: dict[str, Any] = field(default_factory=dict)


PRESETS: Final[dict[str, Preset]] = {
    "openai": Preset(base_url="https://api.openai.com/v1", options={"prompt_mode": "as_is"}),
    # The older form, `…/openai/deployments/NAME`, needs a query with `api-version` beside its address.
    "azure": Preset(base_url=None, key_header="api-key", options={"prompt_mode": "as_is"}),
    "anthropic": Preset(base_url="https://api.anthropic.com/v1"),
    "gemini": Preset(base_url="https://generativelanguage.googleapis.com/v1beta/openai"),
    # Mistral refuses members that it does not know, and reports its usage without being asked.
    "mistral": Preset(base_url="https://api.mistral.ai/v1", options={"omit": frozenset({"stream_options"})}),
    "deepseek": Preset(base_url="https://api.deepseek.com/v1"),
    "groq": Preset(base_url="https://api.groq.com/openai/v1"),
    "openrouter": Preset(base_url="https://openrouter.ai/api/v1"),
    "vllm": Preset(base_url="http://127.0.0.1:8000/v1"),
    "sglang": Preset(base_url="http://127.0.0.1:30000/v1"),
    "llama_cpp": Preset(base_url="http://127.0.0.1:8080/v1"),
    "ollama": Preset(base_url="http://127.0.0.1:11434/v1"),
    "litellm": Preset(base_url="http://127.0.0.1:4000/v1"),
}
NOTHING_KNOWN: Final = Preset(base_url=None)
