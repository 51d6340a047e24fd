"""Pure: what later prompts have of a turn whose messages guardrails have checked."""

from services.history.mongo.filters import Document
from shared.contracts.guardrails import CheckedInput
from shared.contracts.sessions import TurnMessage
from shared.contracts.turns import FinishedTurn

# As for a turn that failed: no later prompt has it.
LEFT_OUT = "failed"


def earlier_input(finished: FinishedTurn, messages: tuple[TurnMessage, ...]) -> tuple[str, tuple[TurnMessage, ...]]:
    """The status and the messages of a turn that has just ended, as the next turn's prompt sees them."""
    checked = finished.checked_input
    if checked is None:
        return finished.status, messages
    return LEFT_OUT if checked.blocked else finished.status, checked.applied(messages)


def earlier_row(row: Document, *, guards_input: bool) -> tuple[str, list[Document]]:
    """The same for a stored turn.

    `guards_input`: the agent has input guardrails. A turn that ended before they had decided is left out.
    """
    status, messages, checked = str(row["status"]), list[Document](row["input"]), row.get("checkedInput")
    if checked is None:
        return LEFT_OUT if guards_input else status, messages
    found = CheckedInput.model_validate(checked)
    shown = [{**message, "content": found.texts.get(message["id"], message.get("content"))} for message in messages]
    return LEFT_OUT if found.blocked else status, shown
