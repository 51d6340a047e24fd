"""An agent's guardrails: checks of what users say and of what the agent answers, and what came of them.

guardrails:
  - {kind: patterns, name: cards, stage: output, patterns: ['\\b(\\d[ -]?){13,16}\\b'], action: replace}
  - {kind: http, name: moderation, stage: input, url: https://moderation.example/check, signingSecret: {value: whsec_…}}
"""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from shared.contracts.endpoints import Endpoint, Secret, checked_signing_secret
from shared.contracts.schema import Schema
from shared.contracts.sessions import TurnMessage

Stage = Literal["input", "output"]
Action = Literal["block", "replace"]
Pattern = Annotated[str, Field(min_length=1, max_length=500)]


class _Guardrail(Schema):
    """`stage` input: the texts of the users' messages in the request, before a model gets them.

    Output: the agent's text, sentence by sentence, before a client gets it. `message` is what a client reads when the
    guardrail blocks.
    """

    name: str = Field(pattern=r"^[A-Za-z0-9_-]{1,64}$")
    stage: Stage
    message: str = Field(default="I cannot help with that.", min_length=1, max_length=2000)


class PatternsGuardrail(_Guardrail):
    """Regular expressions in RE2's syntax: linear time, no backreferences. One that matches anywhere acts.

    `replacement` takes the place of each match, as it stands.
    """

    kind: Literal["patterns"]
    patterns: tuple[Pattern, ...] = Field(min_length=1, max_length=50)
    action: Action = "block"
    replacement: str = Field(default="[removed]", max_length=200)


class HttpGuardrail(_Guardrail, Endpoint):
    """A signed POST to a server of the author's, which answers what to do.

    `on_failure`: what happens when it does not answer within `timeout_s`, or not as it should.
    """

    kind: Literal["http"]
    signing_secret: Secret
    timeout_s: float = Field(default=2.0, gt=0, le=10)
    on_failure: Literal["block", "allow"] = "block"

    @model_validator(mode="after")
    def _can_be_called(self) -> Self:
        checked_signing_secret(self.signing_secret)
        if "{" in self.url or "}" in self.url:
            raise ValueError("the url of a guardrail has no variables")
        return self


Guardrail = Annotated[PatternsGuardrail | HttpGuardrail, Field(discriminator="kind")]


class GuardrailAct(Schema):
    """A guardrail that blocked or replaced something in a turn."""

    stage: Stage
    action: Action
    name: str


class CheckedInput(Schema):
    """What the input guardrails made of a turn's messages.

    `texts` are those that were replaced, by their messages' ids: later prompts have them too. A turn whose input was
    blocked is in no later prompt.
    """

    blocked: bool = False
    texts: dict[str, str] = Field(default_factory=dict)

    def applied(self, messages: tuple[TurnMessage, ...]) -> tuple[TurnMessage, ...]:
        """The messages with the texts that stand for theirs."""
        if not self.texts:
            return messages
        return tuple(
            message.model_copy(update={"content": self.texts.get(message.id, message.content)}) for message in messages
        )


class HookAnswer(Schema):
    """What the server of an HTTP guardrail answers. `texts`: one for each text that it was sent, in their order."""

    action: Literal["allow", "block", "replace"]
    message: str | None = Field(default=None, min_length=1, max_length=2000)
    texts: tuple[str, ...] | None = None
