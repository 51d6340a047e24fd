"""Builders of what a worker is given."""

from datetime import UTC, datetime
from typing import Any

import pytest

from services.agent_worker.model.answer import Answer
from shared.contracts.agents import AgentConfig
from shared.contracts.sessions import TurnMessage
from shared.contracts.turns import ClaimedTurn

NOW = datetime(2026, 1, 31, 9, tzinfo=UTC)


class Make:
    now = NOW

    def agent(self, **given: Any) -> AgentConfig:
        return AgentConfig.model_validate({"name": "Mia", "instructions": "Be kind.", "model": {"name": "m"}, **given})

    def tool(self, name: str = "look_up", **given: Any) -> dict[str, Any]:
        return {"name": name, "url": "https://tools.example/x", **given}

    def message(self, role: str = "user", content: str | None = "Hello?", **given: Any) -> TurnMessage:
        return TurnMessage.model_validate({"id": "msg_x", "role": role, "content": content, "createdAt": NOW, **given})

    def claimed(self, *messages: TurnMessage, **given: Any) -> ClaimedTurn:
        return ClaimedTurn.model_validate(
            {"run": True, "attempt": 1, "input": messages or (self.message(),), "remaining_s": 60.0, **given}
        )

    def answer(
        self,
        text: str = "",
        calls: dict[str, str] | None = None,
        reason: str = "stop",
        usage: tuple[int, int] | None = None,
    ) -> Answer:
        """`calls`: name → arguments; their ids are `call_<name>`."""
        answer = Answer("stem")
        answer.add({"choices": [{"delta": {"content": text}}]})
        for index, (name, arguments) in enumerate((calls or {}).items()):
            piece = {"index": index, "id": f"call_{name}", "function": {"name": name, "arguments": arguments}}
            answer.add({"choices": [{"delta": {"tool_calls": [piece]}}]})
        answer.add({"choices": [{"delta": {}, "finish_reason": reason}]})
        if usage is not None:
            answer.add({"choices": [], "usage": {"prompt_tokens": usage[0], "completion_tokens": usage[1]}})
        return answer


@pytest.fixture
def make() -> Make:
    return Make()
