"""One upstream: its HTTP client, and the members that it has refused. The only importer of openai."""

from datetime import UTC, datetime
from typing import Any, Final

import aiohttp
import httpx2
import openai
import orjson
from openai import AsyncStream, RequestOptions

from services.agent_worker.metrics import MODEL_QUIRKS
from services.agent_worker.model.faults import FaultKind, ModelFault, fault_of, read_error
from services.agent_worker.model.quirks import Quirk
from services.agent_worker.model.request import body_of, unknown_member
from services.agent_worker.model.retry_after import retry_after_s
from services.agent_worker.model.transport import AiohttpTransport
from services.agent_worker.settings import Timeouts, Upstream
from shared.log import get_logger

log = get_logger()

# What a transport raises. openai's errors stand for the others.
TRANSPORT_FAULTS: Final = (
    openai.OpenAIError,
    httpx2.HTTPError,
    httpx2.StreamError,
    httpx2.InvalidURL,
    aiohttp.ClientError,
    OSError,
)
MAX_MODELS: Final = 1000
MAX_OMITTED: Final = 16
# Headers about this machine, which no server needs: half of all headers.
_MACHINE: Final[Any] = {
    f"X-Stainless-{name}": openai.Omit()
    for name in ("Arch", "Async", "Lang", "OS", "Package-Version", "Runtime", "Runtime-Version")
}
# Given with each call, because the client copies a default for each option that is left open.
_OPTIONS: Final[RequestOptions] = {"headers": {}, "max_retries": 0, "timeout": None}
# For a key in a header of its own: a bearer token would be taken for another kind of sign-in. The client insists that
# this is said with the call.
_WITHOUT_TOKEN: Final[Any] = {**_OPTIONS, "headers": {"Authorization": openai.Omit()}}


class UpstreamConnection:
    """`open` starts a call. Closing its stream closes the connection, which stops the model."""

    def __init__(self, name: str, upstream: Upstream, timeouts: Timeouts, connections: int) -> None:
        self.name = name
        self.provider = upstream.kind or name
        self.options = upstream.effective_options
        self.timeouts = timeouts = upstream.timeouts_over(timeouts)
        self._client = _client(upstream, timeouts, connections)
        self._call_options: RequestOptions = _WITHOUT_TOKEN if _has_own_key_header(upstream) else _OPTIONS
        self._learned: dict[str, frozenset[str]] = {}  # By model: members that a refusal has named as unknown.

    async def open(self, model: str, request: dict[str, Any]) -> AsyncStream[Any]:
        """The answer's headers have arrived, and nothing of its body is read. Raises ModelFault, TRANSPORT_FAULTS."""
        while True:
            omitted = self.options.omit | self._learned.get(model, frozenset())
            body = body_of(model, request, self.name, omitted)
            try:
                return await self._post(body)
            except openai.APIStatusError as status_error:
                fault = _status_fault(status_error)
                name = unknown_member(fault.error, body) if fault.kind is FaultKind.REFUSED else None
                if name is None or name in omitted or len(omitted) >= MAX_OMITTED:
                    raise fault from None
                self._learn(model, name)

    async def _post(self, body: dict[str, Any]) -> AsyncStream[Any]:
        # `chat.completions.create` compares each member of each message with every type of message there is: 6 ms for
        # 22 messages.
        return await self._client.post(
            "/chat/completions",
            content=orjson.dumps(body),
            cast_to=object,
            options=self._call_options,
            stream=True,
            stream_cls=AsyncStream[Any],
        )

    def _learn(self, model: str, member: str) -> None:
        """The next calls are made without the member, until this process ends."""
        if len(self._learned) >= MAX_MODELS:
            self._learned.clear()
        self._learned[model] = self._learned.get(model, frozenset()) | {member}
        MODEL_QUIRKS.labels(self.name, Quirk.OMITTED_MEMBER).inc()
        log.warning("model_member_omitted", upstream=self.name, model=model, member=member)

    async def close(self) -> None:
        await self._client.close()


def _has_own_key_header(upstream: Upstream) -> bool:
    return upstream.preset.key_header == "api-key" and bool(upstream.api_key.get_secret_value())


def _client(upstream: Upstream, timeouts: Timeouts, connections: int) -> openai.AsyncOpenAI:
    # `call.py` times the reads, because what is normal depends on how far the answer has come.
    timeout = httpx2.Timeout(None)
    transport = AiohttpTransport(upstream.url, connect_s=timeouts.connect_s, connections=connections)
    # httpx2 repeats the body after a 307 or 308 and drops the key when the host changes.
    http_client = httpx2.AsyncClient(transport=transport, timeout=timeout, follow_redirects=True)
    key = upstream.api_key.get_secret_value()
    headers = {**_MACHINE, "User-Agent": f"AsyncOpenAI/Python {openai.__version__}"}
    if _has_own_key_header(upstream):
        headers["api-key"] = key
    headers |= {name: value.get_secret_value() for name, value in upstream.headers.items()}
    return openai.AsyncOpenAI(
        base_url=upstream.url,
        # The client insists on a key; servers without keys ignore it.
        api_key=key or "none",
        max_retries=0,
        timeout=timeout,
        http_client=http_client,
        default_headers=headers,
        default_query=upstream.query or None,
    )


def _status_fault(error: openai.APIStatusError) -> ModelFault:
    status = int(error.status_code)
    body: Any
    try:
        body = orjson.loads(error.response.content)
    except orjson.JSONDecodeError:
        body = error.response.text
    if isinstance(body, list) and len(body) == 1:
        body = body[0]
    inner = body.get("error") or body if isinstance(body, dict) else body
    wait_s = retry_after_s(error.response.headers, datetime.now(UTC))
    told = read_error(inner, body=body, status=status, retry_after_s=wait_s)
    return fault_of(told, f"HTTP {status}")
