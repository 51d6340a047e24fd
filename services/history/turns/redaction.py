"""Redaction of what is admitted: before it is stored, so nothing behind the admission ever has the original text."""

from shared.contracts.redaction import Redaction
from shared.contracts.turns import AdmitTurn
from shared.redaction import redacted


def redacted_order(order: AdmitTurn, redaction: Redaction) -> AdmitTurn:
    """The order as it is stored. Its digest stays that of the request, so that a repeat is recognised."""
    if redaction.is_empty:
        return order
    messages = tuple(
        message.model_copy(update={"content": redacted(message.content, redaction)}) if message.content else message
        for message in order.messages
    )
    completion = order.completion
    if completion is not None and completion.instructions:
        completion = completion.model_copy(update={"instructions": redacted(completion.instructions, redaction)})
    return order.model_copy(update={"messages": messages, "completion": completion})
