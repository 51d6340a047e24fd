import base64
from typing import Any

import pytest
from multidict import CIMultiDict

from services.gateway.faces.json_rpc import RpcError, RpcRequest
from services.gateway.faces.mcp.versions import HANDSHAKE, STATELESS, agreed, revision_of

META = {
    "io.modelcontextprotocol/protocolVersion": STATELESS,
    "io.modelcontextprotocol/clientCapabilities": {},
}


def request(method: str = "tools/list", meta: Any = META, **params: Any) -> RpcRequest:
    return RpcRequest(1, method, {**({"_meta": meta} if meta is not None else {}), **params})


def headers(method: str = "tools/list", **more: str) -> CIMultiDict[str]:
    return CIMultiDict({"MCP-Protocol-Version": STATELESS, "Mcp-Method": method, **more})


def code_of(sent: CIMultiDict[str], asked: RpcRequest) -> int:
    with pytest.raises(RpcError) as raised:
        revision_of(sent, asked)
    assert raised.value.status == 400
    return raised.value.code


def test_a_stateless_request_says_its_version_twice() -> None:
    assert revision_of(headers(), request()).is_stateless


def test_a_name_that_no_header_can_carry_is_compared_decoded() -> None:
    name = "ask_日本"
    encoded = f"=?base64?{base64.b64encode(name.encode()).decode()}?="
    asked = request("tools/call", name=name)
    assert revision_of(headers("tools/call", **{"Mcp-Name": encoded}), asked).is_stateless
    assert code_of(headers("tools/call", **{"Mcp-Name": "=?base64?!?="}), asked) == -32020


@pytest.mark.parametrize(
    ("sent", "asked", "code"),
    [
        (CIMultiDict({"Mcp-Method": "tools/list"}), request(), -32020),
        (headers("tools/call"), request(), -32020),
        (headers("tools/call"), request("tools/call", name="ask_a"), -32020),
        (headers("tools/call", **{"Mcp-Name": "ask_b"}), request("tools/call", name="ask_a"), -32020),
        (headers("resources/read", **{"Mcp-Name": "a:b"}), request("resources/read", uri="a:c"), -32020),
        (headers(), request(meta=None), -32602),
        (headers(), request(meta={"io.modelcontextprotocol/protocolVersion": STATELESS}), -32602),
        (headers(), request(meta={**META, "io.modelcontextprotocol/clientCapabilities": 1}), -32602),
        (CIMultiDict([*headers().items(), ("Mcp-Method", "tools/list")]), request(), -32020),
        (
            CIMultiDict({"MCP-Protocol-Version": "2030-01-01", "Mcp-Method": "tools/list"}),
            request(meta={**META, "io.modelcontextprotocol/protocolVersion": "2030-01-01"}),
            -32022,
        ),
        (CIMultiDict({"MCP-Protocol-Version": "2024-11-05"}), request(meta=None), -32022),
    ],
)
def test_headers_that_contradict_the_body_and_unknown_versions_are_refused(
    sent: CIMultiDict[str], asked: RpcRequest, code: int
) -> None:
    assert code_of(sent, asked) == code


def test_a_refused_version_is_answered_with_those_that_are_spoken() -> None:
    with pytest.raises(RpcError) as raised:
        revision_of(CIMultiDict({"MCP-Protocol-Version": "2024-11-05"}), request(meta=None))
    assert raised.value.data == {"supported": [STATELESS, *HANDSHAKE], "requested": "2024-11-05"}


@pytest.mark.parametrize("version", [None, *HANDSHAKE])
def test_a_client_of_the_handshake_names_its_version_in_a_header_or_not_at_all(version: str | None) -> None:
    sent = CIMultiDict({"MCP-Protocol-Version": version} if version else {})
    revision = revision_of(sent, request(meta=None))
    assert (revision.version, revision.is_stateless) == (version, False)


def test_a_handshake_agrees_on_the_clients_version_or_on_the_newest() -> None:
    assert [agreed(version) for version in (*HANDSHAKE, "2024-11-05", None)] == [*HANDSHAKE, HANDSHAKE[0], HANDSHAKE[0]]
