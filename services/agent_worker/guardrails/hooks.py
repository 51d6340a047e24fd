"""The guardrail that asks a server of the agent's author: a signed POST, whose answer decides."""

import asyncio
import time
from typing import Any, Final

import orjson
from pydantic import ValidationError

from services.agent_worker.guardrails.verdicts import Block, GuardrailFailure, Texts, Verdict
from services.agent_worker.tools.http import headers_with_secrets, opened
from services.agent_worker.tools.result import ToolFailure
from shared.contracts.guardrails import HookAnswer, HttpGuardrail
from shared.secrets import SecretBox
from shared.web.guarded_client import GuardedClient, Outgoing, OutgoingFailure
from shared.webhook_signature import signature_headers

# Beside the texts themselves, which a server may send back changed.
ANSWER_BYTES: Final = 64 << 10


class Hooks:
    """Makes the requests of all agents' HTTP guardrails. `client` is open while this is used.

    A request is made once: `on_failure` decides about one that fails.
    """

    def __init__(self, client: GuardedClient, secrets: SecretBox) -> None:
        self._client = client
        self._secrets = secrets

    async def check(
        self, guardrail: HttpGuardrail, workspace: str, request_id: str, facts: dict[str, Any], texts: list[str]
    ) -> Verdict:
        """`facts` are the members of the request beside the texts. Raises GuardrailFailure."""
        body = orjson.dumps({**facts, "guardrail": guardrail.name, "stage": guardrail.stage, "texts": texts})
        try:
            async with asyncio.timeout(guardrail.timeout_s):
                request = self._request(guardrail, workspace, request_id, body)
                answer = await self._client.fetch(request, limit=ANSWER_BYTES + 4 * len(body), redirects=0)
        except TimeoutError:
            raise GuardrailFailure("timeout") from None
        except (OutgoingFailure, ToolFailure) as failure:
            raise GuardrailFailure(str(failure)) from None
        if answer.status != 200:
            raise GuardrailFailure(f"HTTP {answer.status}")
        return _verdict(guardrail, answer.text, texts)

    def _request(self, guardrail: HttpGuardrail, workspace: str, request_id: str, body: bytes) -> Outgoing:
        headers = headers_with_secrets(self._secrets, workspace, guardrail.headers, guardrail.secret_headers)
        headers = {name: value for name, value in headers.items() if name.lower() != "content-type"}
        secret = opened(self._secrets, workspace, guardrail.signing_secret)
        signature = signature_headers([secret], request_id, int(time.time()), body)
        headers = {**headers, **signature, "Content-Type": "application/json"}
        return Outgoing(method="POST", url=guardrail.url, headers=headers, body=body)


def _verdict(guardrail: HttpGuardrail, text: str, texts: list[str]) -> Verdict:
    try:
        answer = HookAnswer.model_validate(orjson.loads(text), strict=False)
    except (orjson.JSONDecodeError, ValidationError):
        raise GuardrailFailure("the answer is not as documented") from None
    if answer.action == "block":
        return Block(answer.message or guardrail.message)
    if answer.action == "allow":
        return Texts(texts)
    if answer.texts is None or len(answer.texts) != len(texts):
        raise GuardrailFailure("the answer has not one text for each that was sent")
    return Texts(list(answer.texts))
