import pytest
from aiohttp.test_utils import make_mocked_request
from multidict import CIMultiDict

from services.gateway.edge.auth import require_origin
from shared.contracts.errors import ApiError, Code
from shared.contracts.keys import Principal, Scope

PAGES = Principal(
    key_id="key_x",
    workspace="w",
    scopes=frozenset({Scope.CHAT_PUBLIC}),
    agent_id="agt_x",
    allowed_origins=("https://a.example",),
)


def ask(principal: Principal, *origins: str) -> None:
    headers = CIMultiDict([("Origin", origin) for origin in origins])
    require_origin(principal, make_mocked_request("GET", "/", headers=headers))


def test_a_publishable_key_works_from_its_origins_only() -> None:
    ask(PAGES, "https://a.example")
    for origins in ((), ("https://b.example",), ("null",), ("https://a.example", "https://b.example")):
        with pytest.raises(ApiError) as raised:
            ask(PAGES, *origins)
        assert raised.value.code is Code.ORIGIN_NOT_ALLOWED


def test_a_secret_key_needs_no_origin() -> None:
    ask(Principal(key_id="key_x", workspace="w", scopes=frozenset()))
