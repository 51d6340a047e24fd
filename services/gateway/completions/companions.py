"""Pure: companions (`shared/contracts/companions.py`) of messages and calls, on their way to a caller and back."""

from collections.abc import Iterable
from typing import Any

from shared.contracts.companions import companions_of, companions_text, upstream_tag


def call_companions(call: dict[str, Any]) -> dict[str, Any]:
    """The members of a stored call that its caller must send back."""
    return companions_of(call.get("companions"))


def message_companions(message: dict[str, Any]) -> dict[str, Any]:
    """The members of a stored message that calls the caller's tools. `parley` says which upstream they belong to."""
    members = companions_of(message.get("companions"))
    upstream = message.get("upstream")
    return members | {"parley": {"upstream": upstream_tag(upstream)}} if upstream else members


def sent_companions(sent: object, names: Iterable[str]) -> str | None:
    """What a caller has sent back, for the store."""
    return companions_text({name: value for name in names if (value := getattr(sent, name, None)) is not None})
