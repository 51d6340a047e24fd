"""Ids of responses and of their items. A conversation's id is its session's."""

from shared.ids import is_id


def response_id(turn_id: str) -> str:
    return "resp_" + turn_id.removeprefix("trn_")


def turn_id_of(response: str) -> str | None:
    """The turn of a response's id; None when `response` is not such an id."""
    turn_id = "trn_" + response.removeprefix("resp_")
    return turn_id if response.startswith("resp_") and is_id("trn", turn_id) else None


def item_id(prefix: str, turn_id: str, attempt: int, index: int) -> str:
    """The same in the stream, where a message has no id yet, and in the stored response.

    `index`: the item's place among those of its attempt.
    """
    return f"{prefix}_{turn_id.removeprefix('trn_')}_{attempt}_{index}"
