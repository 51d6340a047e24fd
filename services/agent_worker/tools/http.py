"""The HTTP tool: one request to a fixed host, with the agent's secrets, signed where the agent says so."""

import asyncio
import time
from collections.abc import Mapping
from typing import Any, Final

from services.agent_worker.tools.request import target_of
from services.agent_worker.tools.result import ToolFailure
from shared.contracts.endpoints import Secret
from shared.contracts.tools import HttpTool
from shared.secrets import SecretBox, SecretsUnavailable
from shared.web.guarded_client import GuardedClient, Outgoing, OutgoingFailure
from shared.webhook_signature import signature_headers

RESULT_BYTES: Final = 65_536


class HttpTools:
    """Makes the requests of all agents' HTTP tools. A failed request is not repeated: the model decides."""

    def __init__(self, client: GuardedClient, secrets: SecretBox, *, result_bytes: int = RESULT_BYTES) -> None:
        self._client = client
        self._secrets = secrets
        self._result_bytes = result_bytes

    async def call(self, tool: HttpTool, arguments: dict[str, Any], key: str, workspace: str) -> str:
        """The answer's text. `key` is the call's idempotency key. Raises ToolFailure."""
        limit = min(self._result_bytes, tool.response_limit or self._result_bytes)
        request = self._request(tool, arguments, key, workspace)
        try:
            async with asyncio.timeout(tool.timeout_s):
                answer = await self._client.fetch(request, limit=limit)
        except TimeoutError:
            raise ToolFailure(f"The tool did not answer within {tool.timeout_s:g} s.") from None
        except OutgoingFailure as failure:
            raise ToolFailure(f"The tool failed. {failure}") from None
        if answer.status >= 300:
            raise ToolFailure(f"HTTP {answer.status}\n{answer.text}".strip())
        return answer.text

    def _request(self, tool: HttpTool, arguments: dict[str, Any], key: str, workspace: str) -> Outgoing:
        url, body = target_of(tool, arguments)
        headers = self._headers(tool, workspace)
        headers["Idempotency-Key"] = key
        if body is not None:
            headers["Content-Type"] = "application/json"
        if tool.signing_secret is not None:
            secret = opened(self._secrets, workspace, tool.signing_secret)
            headers |= signature_headers([secret], key, int(time.time()), body or b"")
        return Outgoing(method=tool.method, url=str(url), headers=headers, body=body)

    def _headers(self, tool: HttpTool, workspace: str) -> dict[str, str]:
        own = {"idempotency-key", "content-type"} if tool.method != "GET" else {"idempotency-key"}
        headers = headers_with_secrets(self._secrets, workspace, tool.headers, tool.secret_headers)
        return {name: value for name, value in headers.items() if name.lower() not in own}


def headers_with_secrets(
    box: SecretBox, workspace: str, headers: Mapping[str, str], secrets: Mapping[str, Secret]
) -> dict[str, str]:
    """A tool's headers as they are sent. Raises ToolFailure."""
    return {**headers, **{name: opened(box, workspace, secret) for name, secret in secrets.items()}}


def opened(box: SecretBox, workspace: str, secret: Secret) -> str:
    """Raises ToolFailure: the model reads that the tool does not work, and nothing about the secret."""
    try:
        return box.open(workspace, secret)
    except SecretsUnavailable:
        raise ToolFailure("The tool cannot be called: one of its secrets cannot be read.") from None
