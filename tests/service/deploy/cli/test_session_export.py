"""`parley sessions export` over a server that breaks off: every session comes once, and whole."""

from collections.abc import Sequence
from typing import Any

import orjson
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from deploy.cli import session_export
from deploy.cli.api import Api, Refused, Unreachable
from deploy.cli.config import Target
from deploy.cli.session_export import exported


def session(number: int) -> bytes:
    return line(type="session", session={"id": f"ses_{number}"})


def turn(number: int, *texts: str) -> bytes:
    return line(type="turn", sessionId=f"ses_{number}", messages=[{"content": text} for text in texts])


def line(**members: Any) -> bytes:
    return orjson.dumps(members) + b"\n"


END = line(type="end", sessions=2, turns=3)


class Played:
    """A server that answers each request with the next body, or with the next status."""

    def __init__(self, *answers: Sequence[bytes] | int) -> None:
        self._answers = list(answers)
        self.asked: list[str] = []

    async def serve(self, request: web.Request) -> web.StreamResponse:
        self.asked.append(request.query_string)
        answer = self._answers.pop(0)
        if isinstance(answer, int):
            return web.json_response({"code": "refused", "detail": "Refused."}, status=answer)
        response = web.StreamResponse(headers={"Content-Type": "application/x-ndjson"})
        await response.prepare(request)
        for chunk in answer:
            await response.write(chunk)
        if not answer or END not in answer[-1]:
            assert request.transport is not None
            request.transport.abort()
        return response

    async def documents(self) -> list[tuple[str, list[str]]]:
        app = web.Application()
        app.router.add_get("/api/v1/chat/sessions/export", self.serve)
        async with TestServer(app) as server, Api(Target(url=str(server.make_url("")).rstrip("/"), key="k")) as api:
            return [
                (document["session"]["id"], [message["content"] for message in document["messages"]])
                async for document in exported(api, [("status", "ended")])
            ]


WHOLE = [("ses_1", ["a", "b", "c"]), ("ses_2", [])]


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session_export, "FIRST_PAUSE_S", 0.0)


async def test_the_turns_of_a_session_become_its_messages_wherever_the_bytes_are_cut() -> None:
    body = session(1) + turn(1, "a", "b") + turn(1, "c") + session(2) + END
    assert await Played([body]).documents() == WHOLE
    assert await Played([body[at : at + 1] for at in range(len(body) - len(END))] + [END]).documents() == WHOLE


async def test_a_broken_export_goes_on_after_the_last_whole_session() -> None:
    played = Played(
        [session(1), turn(1, "a")],
        503,
        [session(1), turn(1, "a", "b") + turn(1, "c") + session(2)[:-9]],
        [session(1), turn(1, "a", "b"), turn(1, "c"), session(2)],
        [session(2), END],
    )
    assert await played.documents() == WHOLE
    assert played.asked == ["status=ended"] * 4 + ["status=ended&after=ses_1"]


async def test_an_export_without_its_last_line_is_not_taken_for_a_whole_one() -> None:
    with pytest.raises(Unreachable, match="broke"):
        await Played(*[[session(1)[:-1]]] * session_export.TRIES).documents()
    with pytest.raises(Refused):
        await Played(*[503] * session_export.TRIES).documents()


async def test_a_refusal_ends_the_export_at_once() -> None:
    with pytest.raises(Refused):
        await Played(403).documents()
