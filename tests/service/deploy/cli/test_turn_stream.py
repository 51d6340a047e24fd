"""A turn's stream over a server that breaks in every way a gateway can."""

from collections.abc import Awaitable, Callable

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from deploy.cli.api import Api, Refused, Unreachable
from deploy.cli.config import Target
from deploy.cli.exits import CliError, Exit
from deploy.cli.turn_stream import TurnStream

Step = Callable[[web.Request], Awaitable[web.StreamResponse]]
QUEUED = b'event: queued\ndata: {"turnId":"trn_1"}\n\n'


def delta(text: str, number: int) -> bytes:
    return f'event: delta\ndata: {{"text":"{text}"}}\nid: 1-{number}\n\n'.encode()


DONE = b'event: done\ndata: {"messages":[]}\nid: 1-9\n\n'


def sends(*chunks: bytes, cut: bool = False) -> Step:
    async def answer(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        for chunk in chunks:
            await response.write(chunk)
        if cut:
            assert request.transport is not None
            request.transport.abort()
        return response

    return answer


def problem(status: int, code: str) -> Step:
    async def answer(_: web.Request) -> web.StreamResponse:
        return web.json_response({"code": code, "detail": code}, status=status)

    return answer


async def hang_up(request: web.Request) -> web.StreamResponse:
    assert request.transport is not None
    request.transport.abort()
    return web.Response()


class Played:
    """A server that answers each request with the next step, and remembers what was asked."""

    def __init__(self, *steps: Step) -> None:
        self._steps = list(steps)
        self.asked: list[tuple[str, str, str | None, str | None]] = []

    async def serve(self, request: web.Request) -> web.StreamResponse:
        key, after = request.headers.get("Idempotency-Key"), request.headers.get("Last-Event-ID")
        self.asked.append((request.method, request.path.removeprefix("/api/v1/chat/sessions/ses_1"), key, after))
        return await self._steps.pop(0)(request)

    async def texts(self, *, give_up_s: float = 30.0) -> str:
        app = web.Application()
        app.router.add_route("*", "/{tail:.*}", self.serve)
        async with TestServer(app) as server, Api(Target(url=str(server.make_url("")).rstrip("/"), key="k")) as api:
            stream = TurnStream(api, "ses_1", content="hi", give_up_s=give_up_s)
            return "".join([frame.data.get("text", "") async for frame in stream.frames()])


async def test_a_cut_stream_goes_on_after_its_last_whole_frame() -> None:
    played = Played(
        sends(QUEUED, delta("a", 1), delta("b", 2), delta("c", 3)[:-5], cut=True),
        sends(delta("c", 3), cut=True),
        sends(delta("d", 4), DONE),
    )
    assert await played.texts() == "abcd"
    assert [(method, path, after) for method, path, _, after in played.asked] == [
        ("POST", "/messages", None),
        ("GET", "/turns/trn_1/events", "1-2"),
        ("GET", "/turns/trn_1/events", "1-3"),
    ]


async def test_a_message_whose_answer_was_lost_is_repeated_under_the_same_key() -> None:
    played = Played(hang_up, problem(503, "draining"), sends(QUEUED, delta("a", 1), DONE))
    assert await played.texts() == "a"
    keys = {key for _, _, key, _ in played.asked}
    assert (len(played.asked), len(keys), None in keys) == (3, 1, False)


async def test_a_stream_that_ends_without_an_end_is_resumed() -> None:
    played = Played(sends(QUEUED, delta("a", 1)), sends(delta("b", 2), DONE))
    assert await played.texts() == "ab"


async def test_a_refusal_ends_it_at_once() -> None:
    with pytest.raises(Refused) as refused:
        await Played(problem(409, "turn_in_progress")).texts()
    assert refused.value.code == "turn_in_progress"


async def test_a_budget_that_is_used_up_is_not_waited_for() -> None:
    async def used_up(_: web.Request) -> web.StreamResponse:
        headers = {"x-should-retry": "false", "Retry-After": "3600"}
        return web.json_response({"code": "budget_exceeded"}, status=429, headers=headers)

    played = Played(used_up, sends(QUEUED, DONE))
    with pytest.raises(Refused) as refused:
        await played.texts()
    assert (refused.value.code, len(played.asked)) == ("budget_exceeded", 1)


async def test_an_answer_without_a_body_is_no_fault_and_a_lasting_refusal_is_not_repeated() -> None:
    asked: list[str] = []

    async def serve(request: web.Request) -> web.StreamResponse:
        asked.append(request.method)
        if request.method == "DELETE":
            return web.Response(status=204)
        return web.json_response({"code": "budget_exceeded"}, status=429, headers={"x-should-retry": "false"})

    app = web.Application()
    app.router.add_route("*", "/{tail:.*}", serve)
    async with TestServer(app) as server, Api(Target(url=str(server.make_url("")).rstrip("/"), key="k")) as api:
        assert (await api.call("DELETE", "/budgets/workspace")).status == 204
        with pytest.raises(Refused):
            await api.call("POST", "/chat/sessions", {})
    assert asked == ["DELETE", "POST"]


async def test_it_gives_up_when_nothing_comes_for_too_long() -> None:
    with pytest.raises(Unreachable):
        await Played(*[hang_up] * 20).texts(give_up_s=0.3)


async def test_a_server_without_the_route_is_of_another_version() -> None:
    async def serve(request: web.Request) -> web.StreamResponse:
        if request.path.endswith("/openapi.json"):
            return web.json_response({"info": {"version": "0.0.9"}, "paths": {"/api/v1/models": {"get": {}}}})
        return web.json_response({"code": "not_found", "detail": "Not found."}, status=404)

    app = web.Application()
    app.router.add_route("*", "/{tail:.*}", serve)
    async with TestServer(app) as server, Api(Target(url=str(server.make_url("")).rstrip("/"), key="k")) as api:
        with pytest.raises(
            CliError, match=r"runs version 0.0.9, this is parley .* does not know GET /agents/agt_1"
        ) as refused:
            await api.call("GET", "/agents/agt_1")
    assert refused.value.exit is Exit.OTHER_VERSION
