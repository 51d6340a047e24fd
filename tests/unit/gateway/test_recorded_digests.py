"""What gateways of v0.1.0 made of the same requests: during an upgrade a repeat may reach either release."""

from typing import Any, Final

import pytest

from services.gateway.api.turns import PostMessage
from services.gateway.completions.request import parse_completion

AGENT: Final = "agt_01m8ewax19848png58r98gvjc3"
TOOL: Final = {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}
PLAIN: Final[dict[str, Any]] = {"model": AGENT, "messages": [{"role": "user", "content": "où est ma pizza?"}]}
FULL: Final[dict[str, Any]] = {
    "model": AGENT,
    "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "hi"}],
    "temperature": 0.5,
    "store": True,
    "metadata": {"a": "b"},
    "user": "u1",
    "tools": [TOOL],
    "tool_choice": "auto",
    "stream": True,
}


@pytest.mark.parametrize(
    ("body", "digest"),
    [
        (PLAIN, "3ca0b74d0e03033520dd558fbfbb15e98fdddcb907a42200bac8d0e049dc020b"),
        (FULL, "9e679207b8f5108e93662753cd87ab90a3410721a6e42eb1579be25348e2e336"),
    ],
)
def test_a_completion_has_the_digest_that_the_first_release_gave_it(body: dict[str, Any], digest: str) -> None:
    assert parse_completion(body)[0].digest() == digest


def test_a_message_has_the_digest_that_the_first_release_gave_it() -> None:
    body = PostMessage.model_validate({"content": "où?", "metadata": {"a": "b"}})
    assert body.digest() == "133b493eca7640eb99c4815cddc0b222daa9654fb580756ea8c865718e73aac1"
