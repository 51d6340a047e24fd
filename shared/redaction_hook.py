"""The operator's server that redacts texts: a signed POST before a text is stored or a model gets it.

It has the texts after the agent's own kinds and patterns, so it learns no more than it must.
"""

import asyncio
import time
from collections.abc import Sequence
from typing import Final

import aiohttp
import orjson

from shared.contracts.errors import ApiError, Code
from shared.log import get_logger
from shared.metrics import REDACTION_HOOK
from shared.webhook_signature import signature_headers

log = get_logger()

# Beside the texts themselves, which the server sends back changed.
ANSWER_BYTES: Final = 64 << 10


class _Failure(Exception):
    """The server has not redacted; the text says why, and has nothing of what the server said."""


class RedactionHook:
    """Without `url` every call fails as if the server were away.

    `secret`: as Standard Webhooks has it, `whsec_` and base64. `fails_open`: a text that the server does not redact in
    time goes on as it is; otherwise it is refused. A request is made once.
    """

    def __init__(self, url: str = "", secret: str = "", *, timeout_s: float = 2.0, fails_open: bool = False) -> None:
        self._url = url
        self._secret = secret
        self._timeout_s = timeout_s
        self._fails_open = fails_open

    async def redacted(self, request_id: str, agent_id: str, stage: str, texts: Sequence[str]) -> list[str]:
        """One text for each. `stage`: `message` or `tool`. Raises `dependency_unavailable` unless it fails open."""
        body = orjson.dumps({"agentId": agent_id, "stage": stage, "texts": list(texts)})
        try:
            async with asyncio.timeout(self._timeout_s):
                found = _texts(await self._asked(request_id, body), len(texts))
        except (_Failure, aiohttp.ClientError, OSError, ValueError) as failure:  # TimeoutError is an OSError.
            reason = str(failure) if isinstance(failure, _Failure) else type(failure).__name__
            log.warning("redaction_failed", reason=reason, fails_open=self._fails_open)
            REDACTION_HOOK.labels("failed_open" if self._fails_open else "failed_closed").inc()
            if self._fails_open:
                return list(texts)
            raise ApiError(Code.DEPENDENCY_UNAVAILABLE, "The text could not be redacted. Send it again.") from None
        REDACTION_HOOK.labels("ok").inc()
        return found

    async def _asked(self, request_id: str, body: bytes) -> bytes:
        if not self._url:
            raise _Failure("no server is configured")
        headers = {"Content-Type": "application/json", "Accept-Encoding": "identity"}
        if self._secret:
            headers |= signature_headers([self._secret], request_id, int(time.time()), body)
        limit, found = ANSWER_BYTES + 4 * len(body), bytearray()
        async with (
            aiohttp.ClientSession(auto_decompress=False) as session,
            session.post(self._url, data=body, headers=headers, allow_redirects=False) as answer,
        ):
            if answer.status != 200:
                raise _Failure(f"HTTP {answer.status}")
            async for piece in answer.content.iter_any():
                found += piece
                if len(found) > limit:
                    raise _Failure("the answer is too long")
        return bytes(found)


def _texts(answer: bytes, count: int) -> list[str]:
    """Raises _Failure, and ValueError for what is no JSON."""
    value = orjson.loads(answer)
    texts = value.get("texts") if isinstance(value, dict) else None
    if not isinstance(texts, list) or len(texts) != count or not all(isinstance(text, str) for text in texts):
        raise _Failure("the answer has not one text for each that was sent")
    return texts
