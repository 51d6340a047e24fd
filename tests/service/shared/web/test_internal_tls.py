"""Mutual TLS of the internal API: who has no certificate of its authority learns nothing but health and metrics."""

import socket
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

from shared.contracts.errors import ApiError, Code
from shared.history_client import HistoryClient
from shared.internal_tls import InternalTls
from shared.settings import Settings, SettingsError
from shared.web.middleware import request_middleware, require_certificate, require_token
from shared.web.process import app_runner, listening
from tests.certificates import Authority, Pair

TOKEN = "internal-token-of-the-tests"
MINE = {"Authorization": f"Bearer {TOKEN}"}


def tls(authority: Authority, pair: Pair) -> InternalTls:
    return InternalTls(str(authority.cert), str(pair.cert), str(pair.key))


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


@pytest.fixture
async def url(authority: Authority) -> AsyncIterator[str]:
    async def usage(_: web.Request) -> web.Response:
        return web.json_response({"items": [], "nextCursor": None})

    async def ready(_: web.Request) -> web.Response:
        return web.json_response({"status": "ok"})

    app = web.Application(middlewares=[request_middleware, require_certificate, require_token(TOKEN)])
    app.add_routes([web.get("/workspaces/acme/usage", usage), web.get("/readyz", ready)])
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = tls(authority, authority.pair("history")).server()
    async with listening(app_runner(app), "127.0.0.1", port, tls=server):
        yield f"https://127.0.0.1:{port}"


async def asked(url: str, client: InternalTls | None) -> str:
    """`ok`, or the code with which the call fails."""
    context = client.client() if client is not None else None
    async with HistoryClient([url], TOKEN, tls=context) as history:
        try:
            await history.usage("acme", {})
        except ApiError as error:
            return error.code
        return "ok"


async def test_a_client_with_a_certificate_of_the_authority_is_served(url: str, authority: Authority) -> None:
    assert await asked(url, tls(authority, authority.pair("worker"))) == "ok"


async def test_a_client_with_another_authoritys_or_an_expired_certificate_is_not_served(
    url: str, authority: Authority, tmp_path: Path
) -> None:
    stranger = Authority(tmp_path, "stranger")
    strangers = stranger.pair("intruder")
    expired = authority.pair("late", days=-1)
    for pair in (strangers, expired):
        assert await asked(url, tls(authority, pair)) == Code.DEPENDENCY_UNAVAILABLE


async def test_a_client_does_not_talk_to_a_server_of_another_authority_or_name(
    url: str, authority: Authority, tmp_path: Path
) -> None:
    other = Authority(tmp_path, "other")
    assert await asked(url, tls(other, other.pair("worker"))) == Code.DEPENDENCY_UNAVAILABLE
    elsewhere = tls(authority, authority.pair("worker"))
    assert await asked(url.replace("127.0.0.1", "localhost"), elsewhere) == Code.DEPENDENCY_UNAVAILABLE
    assert await asked(url, None) == Code.DEPENDENCY_UNAVAILABLE


async def test_the_token_alone_opens_health_and_nothing_else(url: str, authority: Authority) -> None:
    bare = ssl.create_default_context(cafile=str(authority.cert))
    async with aiohttp.ClientSession() as http:
        async with http.get(f"{url}/workspaces/acme/usage", headers=MINE, ssl=bare) as answer:
            assert (answer.status, (await answer.json())["code"]) == (401, "invalid_api_key")
        async with http.get(f"{url}/workspaces/acme/none", headers=MINE, ssl=bare) as answer:
            assert answer.status == 401
        async with http.get(f"{url}/readyz", ssl=bare) as answer:
            assert answer.status == 200


async def test_a_certificate_without_the_token_is_refused(url: str, authority: Authority) -> None:
    context = tls(authority, authority.pair("worker")).client()
    async with aiohttp.ClientSession() as http, http.get(f"{url}/workspaces/acme/usage", ssl=context) as answer:
        assert answer.status == 401


async def test_plain_http_and_old_tls_are_not_spoken(url: str, authority: Authority) -> None:
    old = tls(authority, authority.pair("worker")).client()
    old.minimum_version = ssl.TLSVersion.TLSv1_2
    old.maximum_version = ssl.TLSVersion.TLSv1_2
    async with aiohttp.ClientSession() as http:
        with pytest.raises(aiohttp.ClientError):
            await http.get(f"{url}/readyz", ssl=old)
        with pytest.raises(aiohttp.ClientError):
            await http.get(f"{url}/readyz".replace("https", "http"))


def test_settings_want_all_three_files_that_fit_and_https(authority: Authority, tmp_path: Path) -> None:
    pair, other = authority.pair("worker"), authority.pair("other")
    given = {"PARLEY_INTERNAL_TOKEN": TOKEN, "PARLEY_INTERNAL_TLS_CA": str(authority.cert)}
    whole = given | {"PARLEY_INTERNAL_TLS_CERT": str(pair.cert), "PARLEY_INTERNAL_TLS_KEY": str(pair.key)}
    whole["PARLEY_HISTORY_URL"] = "https://history:8082"
    assert Settings.load(whole).internal_tls == tls(authority, pair)
    assert Settings.load({"PARLEY_INTERNAL_TOKEN": TOKEN}).internal_tls is None
    bad = {
        "belong together": given,
        "cannot be used": whole | {"PARLEY_INTERNAL_TLS_KEY": str(other.key)},
        "No such file": whole | {"PARLEY_INTERNAL_TLS_CA": str(tmp_path / "none")},
        "https": whole | {"PARLEY_HISTORY_URL": "https://history:8082,http://history-2:8082"},
    }
    for said, environment in bad.items():
        with pytest.raises(SettingsError, match=said):
            Settings.load(environment)
