"""Pure: which of the faults that a validation found are a client's own."""

from collections.abc import Sequence

from pydantic_core import ErrorDetails


def own_faults(found: Sequence[ErrorDetails]) -> list[ErrorDetails]:
    """Without a list's complaint that it is too short where an item is at fault: such items are not counted."""
    lists = {fault["loc"][:end] for fault in found for end in range(len(fault["loc"]))}
    return [fault for fault in found if not (fault["type"] == "too_short" and fault["loc"] in lists)]
