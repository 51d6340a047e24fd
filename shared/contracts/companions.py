"""Opaque members of a model's message and of its tool calls that the model's server wants back. They are never shown
as text.

Gemini refuses a call that comes back without its thought signature; DeepSeek, Moonshot and Anthropic-like servers
refuse tool calls whose reasoning is missing. The members are kept as JSON text, because their keys may be such as the
stores refuse.
"""

import hashlib
import json
from collections.abc import Mapping
from typing import Any, Final

CALL_MEMBERS: Final = ("extra_content", "provider_specific_fields", "thought_signature", "signature")
# The parts of a message's `content` that are not text (Mistral's `thinking`).
PARTS: Final = "content_parts"
MESSAGE_MEMBERS: Final = (
    "reasoning_content", "reasoning", "reasoning_details", "reasoning_opaque", "thinking_blocks", "extra_content",
    "provider_specific_fields", PARTS,
)  # fmt: skip


def companions_text(members: Mapping[str, Any]) -> str | None:
    """The members as JSON text; None for none.

    Lone halves of surrogate pairs become U+FFFD: no request could hold them.
    """
    if not members:
        return None
    text = json.dumps(dict(members), ensure_ascii=False, separators=(",", ":"))
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def companions_of(text: str | None) -> dict[str, Any]:
    members = json.loads(text) if text else {}
    return members if isinstance(members, dict) else {}


def upstream_tag(upstream: str) -> str:
    """What a caller is told in place of an upstream's name, which is the operator's."""
    return hashlib.sha256(upstream.encode()).hexdigest()[:12]


def is_from(writer: str, upstream: str) -> bool:
    """Whether a message's companions came from this upstream.

    `writer` is its name, or its tag where a caller sent it back.
    """
    return writer in (upstream, upstream_tag(upstream))
