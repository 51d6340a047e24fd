"""The internal token, and the one before it while processes are being restarted with a new one."""

import socket
from collections.abc import AsyncIterator

import aiohttp
import pytest
from aiohttp import web

from services.history.settings import HistorySettings
from shared.settings import SettingsError
from shared.web.middleware import request_middleware, require_token
from shared.web.process import app_runner, listening

NEW, OLD = "the-new-internal-token", "the-old-internal-token"


def accepted(**variables: str) -> tuple[str, ...]:
    return HistorySettings.load({"PARLEY_INTERNAL_TOKEN": NEW, **variables}).accepted_tokens


@pytest.fixture
async def url() -> AsyncIterator[str]:
    async def answer(_: web.Request) -> web.Response:
        return web.json_response({"status": "ok"})

    tokens = accepted(PARLEY_INTERNAL_TOKEN_BEFORE=OLD)
    app = web.Application(middlewares=[request_middleware, require_token(*tokens)])
    app.add_routes([web.get("/usage", answer), web.get("/readyz", answer)])
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    async with listening(app_runner(app), "127.0.0.1", port):
        yield f"http://127.0.0.1:{port}"


@pytest.mark.parametrize(
    ("given", "status"),
    [(NEW, 200), (OLD, 200), ("", 401), (OLD[:-1], 401), (f"{NEW},{OLD}", 401), (f"{OLD}x", 401)],
)
async def test_both_tokens_open_the_internal_api_and_nothing_else_does(url: str, given: str, status: int) -> None:
    async with (
        aiohttp.ClientSession() as client,
        client.get(f"{url}/usage", headers={"Authorization": f"Bearer {given}"}) as answer,
    ):
        assert answer.status == status


async def test_probes_need_none(url: str) -> None:
    async with aiohttp.ClientSession() as client, client.get(f"{url}/readyz") as answer:
        assert answer.status == 200


def test_without_a_token_before_only_the_present_one_counts() -> None:
    assert accepted() == (NEW,)
    assert accepted(PARLEY_INTERNAL_TOKEN_BEFORE="") == (NEW,)


def test_a_token_before_that_is_too_short_is_refused_at_start() -> None:
    with pytest.raises(SettingsError, match=r"PARLEY_INTERNAL_TOKEN_BEFORE.*16 characters"):
        accepted(PARLEY_INTERNAL_TOKEN_BEFORE="short")
