"""The examples of `deploy/GUARDRAILS.md` are ones that an agent and a hook can have."""

import json
import re
from pathlib import Path

from services.history.agents.draft_rules import checked_draft
from shared.contracts.guardrails import HookAnswer

PAGE = Path(__file__).parents[3] / "deploy" / "GUARDRAILS.md"


def test_the_examples_are_valid() -> None:
    guardrails, _, answers = re.findall(r"```json\n(.*?)```", PAGE.read_text(), re.DOTALL)
    draft = {"name": "Mia", "model": {"name": "m"}, "guardrails": json.loads(guardrails)}
    assert [guardrail.kind for guardrail in checked_draft(draft, ()).guardrails] == ["patterns", "patterns", "http"]
    actions = [HookAnswer.model_validate_json(line).action for line in answers.splitlines()]
    assert actions == ["allow", "block", "replace"]
