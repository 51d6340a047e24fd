"""The public API as `parley` calls it: one request with its errors turned into lines and exit codes."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, nullcontext
from typing import Any, Final, NamedTuple, Self

import aiohttp
import orjson

from deploy.cli.config import API, Target
from deploy.cli.exits import CliError, Exit
from shared.version import VERSION

TIMEOUT: Final = aiohttp.ClientTimeout(total=60, sock_connect=10)
STREAM_TIMEOUT: Final = aiohttp.ClientTimeout(total=None, sock_connect=10, sock_read=20)  # pings come every 5 s
UPLOAD_TIMEOUT: Final = aiohttp.ClientTimeout(total=600, sock_connect=10)
PAGE: Final = 200
BUSY_TRIES: Final = 4
MAX_PAUSE_S: Final = 10.0
_EXITS: Final = {
    401: Exit.KEY_REFUSED,
    403: Exit.KEY_REFUSED,
    404: Exit.NOT_FOUND,
    409: Exit.CONFLICT,
    410: Exit.NOT_FOUND,
}
_BUSY: Final = frozenset({429, 503})


class Unreachable(CliError):
    """No connection, or one that broke. The request may or may not have been carried out."""

    def __init__(self, message: str) -> None:
        super().__init__(message, Exit.UNAVAILABLE)


class Refused(CliError):
    """The server's problem document."""

    def __init__(self, message: str, exit_code: Exit, status: int, problem: Mapping[str, Any]) -> None:
        super().__init__(message, exit_code)
        self.status = status
        self.problem = problem
        # False: waiting does not help, as with a budget that is used up until the next day.
        self.may_repeat = True

    @property
    def code(self) -> str:
        return str(self.problem.get("code"))

    @property
    def faults(self) -> list[Mapping[str, Any]]:
        return [fault for fault in self.problem.get("errors") or () if isinstance(fault, dict)]


class Reply(NamedTuple):
    status: int
    body: Any
    headers: Mapping[str, str]

    @property
    def data(self) -> Any:
        """Of an answer with a body."""
        return self.body["data"]


class Api:
    """`waiting` is entered around each call: it shows that something goes on."""

    def __init__(self, target: Target, waiting: Callable[[], AbstractAsyncContextManager[Any]] = nullcontext) -> None:
        self.target = target
        self._waiting = waiting
        self._http: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        headers = {"User-Agent": f"parley-cli/{VERSION}"}
        if self.target.key:
            headers["Authorization"] = f"Bearer {self.target.key}"
        self._http = aiohttp.ClientSession(headers=headers)
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._http is not None:
            await self._http.close()

    def open(
        self,
        method: str,
        path: str,
        body: Any = None,
        headers: Mapping[str, str] | None = None,
        *,
        stream: bool = False,
    ) -> AbstractAsyncContextManager[aiohttp.ClientResponse]:
        """A request whose answer is not looked at. `body` is sent as JSON; a function makes a form for each try."""
        assert self._http is not None
        sent, data, timeout = dict(headers or {}), None, STREAM_TIMEOUT if stream else TIMEOUT
        if callable(body):
            data, timeout = body(), UPLOAD_TIMEOUT
        elif body is not None:
            data, sent["Content-Type"] = orjson.dumps(body), "application/json"
        # A redirect would carry the key to another server.
        return self._http.request(
            method, self.target.api + path, data=data, headers=sent, timeout=timeout, allow_redirects=False
        )

    async def call(self, method: str, path: str, body: Any = None, headers: Mapping[str, str] | None = None) -> Reply:
        """Raises Unreachable, Refused. A server that is busy is asked again a few times, at the pace that it names."""
        for _ in range(BUSY_TRIES - 1):
            status, answered, raw = await self._send(method, path, body, headers)
            if status not in _BUSY or not may_repeat(answered):
                return await self._checked(method, path, status, answered, raw)
            await asyncio.sleep(_pause_s(answered))
        return await self._checked(method, path, *await self._send(method, path, body, headers))

    async def _send(
        self, method: str, path: str, body: Any, headers: Mapping[str, str] | None
    ) -> tuple[int, Mapping[str, str], bytes]:
        try:
            async with self._waiting(), self.open(method, path, body, headers) as response:
                return response.status, response.headers, await response.read()
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise self.unreachable(error) from None

    async def pages(self, path: str) -> AsyncIterator[list[Any]]:
        """All pages of a list."""
        joint = "&" if "?" in path else "?"
        cursor = ""
        while True:
            reply = await self.call("GET", f"{path}{joint}limit={PAGE}{cursor}")
            yield list(reply.data)
            following = reply.body["pagination"]["nextCursor"]
            if not following:
                return
            cursor = f"&cursor={following}"

    def unreachable(self, error: BaseException) -> Unreachable:
        where = self.target.url
        if isinstance(error, aiohttp.ClientSSLError):
            return Unreachable(f"{where} has no certificate that this machine trusts")
        if isinstance(error, aiohttp.ClientConnectorDNSError):
            return Unreachable(f"there is no server {where}: its name is unknown")
        if isinstance(error, aiohttp.ClientConnectorError):
            return Unreachable(f"no server answers at {where} (set PARLEY_URL or run `parley login`)")
        if isinstance(error, TimeoutError):
            return Unreachable(f"{where} did not answer in time")
        return Unreachable(f"the connection to {where} broke")

    async def _checked(self, method: str, path: str, status: int, headers: Mapping[str, str], raw: bytes) -> Reply:
        body = _json_or_none(raw)
        if status == 204 or (status < 300 and isinstance(body, dict)):
            return Reply(status, body, headers)
        if not isinstance(body, dict) or not body.get("code"):
            raise CliError(f"{self.target.url} answered {status} and is not a Parley server", Exit.UNAVAILABLE)
        if self._does_not_know(status, body):
            await self._raise_for_version(method, path)
        raise self.refusal(status, body)

    async def refuse(self, method: str, path: str, response: aiohttp.ClientResponse) -> None:
        """Raises what an answer with an error means, for a request whose answer is a stream."""
        await self._checked(method, path, response.status, response.headers, await response.read())

    def refusal(self, status: int, problem: Mapping[str, Any]) -> Refused:
        exit_code = _EXITS.get(status, Exit.UNAVAILABLE if status in _BUSY else Exit.FAILED)
        detail = str(problem.get("detail") or problem.get("title") or status)
        if status == 401 and not self.target.key:
            detail = f"no key for {self.target.url}: run `parley login` or set PARLEY_API_KEY"
        elif status in (401, 403):
            detail = f"{self.target.url} refuses the key: {detail}"
        if status == 401 and self.target.key:
            detail += " Run `parley login` or set PARLEY_API_KEY."
        return Refused(f"{detail} ({problem.get('code')})", exit_code, status, problem)

    @staticmethod
    def _does_not_know(status: int, problem: Mapping[str, Any]) -> bool:
        """A path that this server does not have, against one whose object it does not have."""
        return status == 405 or (status == 404 and problem.get("code") == "not_found")

    async def _raise_for_version(self, method: str, path: str) -> None:
        """If the server's API document lacks this request, its version is the reason."""
        document = await self.document()
        if document is not None and not _has(document, method, API + path.partition("?")[0]):
            message = (
                f"{self.target.url} runs version {version_of(document)}, this is parley {VERSION}: it does not know"
                f" {method} {path.partition('?')[0]}, use the same version"
            )
            raise CliError(message, Exit.OTHER_VERSION)

    async def document(self) -> dict[str, Any] | None:
        """The API document; None where there is none. Raises Unreachable."""
        _, _, raw = await self._send("GET", "/openapi.json", None, None)
        found = _json_or_none(raw)
        return found if isinstance(found, dict) and isinstance(found.get("paths"), dict) else None

    async def parameters(self, path: str) -> set[str]:
        """The names of the query parameters that the server takes when it lists this."""
        document = await self.document()
        listing = document["paths"].get(API + path, {}).get("get", {}) if document else {}
        return {parameter["name"] for parameter in listing.get("parameters", ())}


def version_of(document: Mapping[str, Any] | None) -> str:
    info = document.get("info") if document else None
    return str(info.get("version")) if isinstance(info, dict) else "unknown"


def _has(document: Mapping[str, Any], method: str, path: str) -> bool:
    """Whether the document has a path of this shape: `{…}` stands for any one part."""
    parts = path.split("/")
    for known, operations in document["paths"].items():
        shape = known.split("/")
        if len(shape) == len(parts) and all(
            wanted.startswith("{") or wanted == part for wanted, part in zip(shape, parts, strict=True)
        ):
            return method.lower() in operations
    return False


def _json_or_none(raw: bytes) -> Any:
    try:
        return orjson.loads(raw)
    except orjson.JSONDecodeError:
        return None


def may_repeat(headers: Mapping[str, str]) -> bool:
    """What the server says of a refusal, in the header that the OpenAI clients read too."""
    return headers.get("x-should-retry") != "false"


def _pause_s(headers: Mapping[str, str]) -> float:
    try:
        return min(max(float(headers.get("Retry-After", "1")), 0.1), MAX_PAUSE_S)
    except ValueError:
        return 1.0
