"""Pure: which revision of the protocol a request speaks, and whether its headers say the same as its body.

2026-07-28 is stateless: each request carries its version in its headers and in `_meta`. Earlier revisions begin with
`initialize`; what follows names the version in a header only.
"""

import base64
import binascii
import re
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from multidict import MultiMapping

from services.gateway.faces.json_rpc import INVALID_PARAMS, RpcError, RpcRequest

STATELESS: Final = "2026-07-28"
# With the handshake, the newest first.
HANDSHAKE: Final = ("2025-11-25", "2025-06-18")
SUPPORTED: Final = (STATELESS, *HANDSHAKE)

HEADER_MISMATCH: Final = -32020
UNSUPPORTED_VERSION: Final = -32022

VERSION_HEADER: Final = "MCP-Protocol-Version"
_METHOD_HEADER: Final = "Mcp-Method"
_NAME_HEADER: Final = "Mcp-Name"
_META: Final = "io.modelcontextprotocol/"
_VERSION_KEY: Final = _META + "protocolVersion"
_CAPABILITIES_KEY: Final = _META + "clientCapabilities"
SERVER_INFO_KEY: Final = _META + "serverInfo"
# The parameter that the header `Mcp-Name` repeats.
_NAMED_BY: Final = {"tools/call": "name", "prompts/get": "name", "resources/read": "uri"}
# A value that a header could not carry as it is.
_ENCODED: Final = re.compile(r"=\?base64\?(.*)\?=")


class Revision(NamedTuple):
    """`version` None: a client of the handshake that does not say which revision was agreed."""

    version: str | None

    @property
    def is_stateless(self) -> bool:
        return self.version == STATELESS

    @property
    def can_resume(self) -> bool:
        """Whether clients know events without data, which only carry an id. Older ones fail to parse them."""
        return self.version == HANDSHAKE[0]

    def result(self, value: dict[str, Any]) -> dict[str, Any]:
        """A result as this revision writes it."""
        return {"resultType": "complete", **value} if self.is_stateless else value

    def cacheable(self, value: dict[str, Any], ttl_ms: int) -> dict[str, Any]:
        """A result that the caller's own client may keep for so long."""
        return self.result(value | {"ttlMs": ttl_ms, "cacheScope": "private"}) if self.is_stateless else value


def revision_of(headers: MultiMapping[str], request: RpcRequest) -> Revision:
    """Raises RpcError for a version that is not spoken here, and for headers that contradict the body."""
    meta = request.params.get("_meta")
    meta = meta if isinstance(meta, dict) else {}
    for name in (VERSION_HEADER, _METHOD_HEADER, _NAME_HEADER):
        if len(headers.getall(name, [])) > 1:
            raise RpcError(HEADER_MISMATCH, f"{name} is given more than once.")
    version = headers.get(VERSION_HEADER)
    if version == STATELESS or _VERSION_KEY in meta:
        return _stateless(headers, request, meta)
    if version is not None and version not in HANDSHAKE:
        raise unsupported(version)
    return Revision(version)


def _stateless(headers: Mapping[str, str], request: RpcRequest, meta: Mapping[str, Any]) -> Revision:
    if request.id is None:
        return Revision(STATELESS)  # What the headers of a notification must say is not defined.
    missing = [key for key in (_VERSION_KEY, _CAPABILITIES_KEY) if key not in meta]
    if missing:
        raise RpcError(INVALID_PARAMS, f"params._meta must have {' and '.join(missing)}.")
    version = meta[_VERSION_KEY]
    if headers.get(VERSION_HEADER) != version:
        raise RpcError(HEADER_MISMATCH, f"{VERSION_HEADER} must be the version that params._meta names.")
    if headers.get(_METHOD_HEADER) != request.method:
        raise RpcError(HEADER_MISMATCH, f"{_METHOD_HEADER} must be the request's method.")
    named_by = _NAMED_BY.get(request.method)
    if named_by is not None:
        name = request.params.get(named_by)
        if name is not None and _decoded(headers.get(_NAME_HEADER)) != name:
            raise RpcError(HEADER_MISMATCH, f"{_NAME_HEADER} must be the request's {named_by}.")
    if version != STATELESS:
        raise unsupported(version)
    if not isinstance(meta[_CAPABILITIES_KEY], dict):
        raise RpcError(INVALID_PARAMS, f"{_CAPABILITIES_KEY} must be an object.")
    return Revision(STATELESS)


def _decoded(value: str | None) -> str | None:
    """A header's text. None also where its encoding is not the one that the protocol prescribes."""
    found = _ENCODED.fullmatch(value) if value is not None else None
    if found is None:
        return value
    try:
        raw = base64.b64decode(found[1], validate=True)
        return raw.decode() if base64.b64encode(raw).decode() == found[1] else None
    except (binascii.Error, UnicodeDecodeError):
        return None


def unsupported(version: Any) -> RpcError:
    shown = version if isinstance(version, str) else ""
    return RpcError(
        UNSUPPORTED_VERSION,
        f"This version of the protocol is not supported. Use one of {', '.join(SUPPORTED)}.",
        {"supported": list(SUPPORTED), "requested": shown[:100]},
    )


def agreed(asked: Any) -> str:
    """The version of a handshake: the client's own where it is spoken here, else the newest."""
    return asked if asked in HANDSHAKE else HANDSHAKE[0]
