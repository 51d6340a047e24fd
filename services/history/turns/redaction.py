"""Redaction of what is admitted: before it is stored, so nothing behind the admission ever has the original text."""

from shared.contracts.redaction import Redaction
from shared.contracts.turns import AdmitTurn
from shared.redaction import redacted
from shared.redaction_hook import RedactionHook


class Redactor:
    def __init__(self, hook: RedactionHook) -> None:
        self._hook = hook

    async def order(self, order: AdmitTurn, agent_id: str, redaction: Redaction) -> AdmitTurn:
        """The order as it is stored. Its digest stays that of the request, so that a repeat is recognised.

        Raises `dependency_unavailable` if the agent has the hook, and that fails.
        """
        if redaction.is_empty:
            return order
        completion = order.completion
        said = [message.content for message in order.messages]
        said.append(completion.instructions if completion is not None else None)
        texts = [redacted(text, redaction) if text else "" for text in said]
        if redaction.hook and any(texts):
            texts = await self._hook.redacted(order.turn_id, agent_id, "message", texts)
        *contents, instructions = texts
        messages = tuple(
            message.model_copy(update={"content": text}) if message.content else message
            for message, text in zip(order.messages, contents, strict=True)
        )
        if completion is not None and completion.instructions:
            completion = completion.model_copy(update={"instructions": instructions})
        return order.model_copy(update={"messages": messages, "completion": completion})
