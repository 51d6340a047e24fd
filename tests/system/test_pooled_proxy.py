"""Two workspaces behind one proxy with pooled connections: every byte belongs to its asker, whatever the others do."""

import asyncio
import random
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any

import aiohttp
import orjson
import pytest

from deploy.demo.scripted import scripted_answer
from shared.contracts.agents import AgentConfig, ModelChoice
from shared.contracts.keys import NewKey, Scope
from shared.ids import new_id
from tests.programs import required_program
from tests.system.nginx import Nginx
from tests.system.stack import Client, Stack, Transcript, parse_frames, read_to_end, seeded

TOKENS = 24
ANSWERS = f"scripted/tokens={TOKENS},delay=2,text=echo"
FAILS = "scripted/tokens=8,delay=2,text=echo,fail=400,after=4"
ASKERS = 6


@pytest.fixture(scope="module")
def nginx(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nginx]:
    program = required_program("nginx", "nginx-light")
    nginx = Nginx(program, tmp_path_factory.mktemp("nginx"), stack.facts["gateways"])
    try:
        nginx.wait_until_ready()
        yield nginx
    finally:
        nginx.stop()


async def _all_of(answer: aiohttp.ClientResponse) -> tuple[bytes, bool]:
    """The body as far as it came, and whether it ended as a body ends."""
    raw = b""
    try:
        async for piece in answer.content.iter_any():
            raw += piece
    except aiohttp.ClientError:
        return raw, False
    return raw, True


class Asker:
    """A client of one workspace, which knows what each of its answers must be."""

    def __init__(self, client: Client, agent_id: str, failing_id: str, name: str, random: random.Random) -> None:
        self.client = client
        self.agent_id = agent_id
        self.failing_id = failing_id
        self.name = name
        self.random = random
        self.number = 0
        self.session_id = ""
        self.ended_turn = ""
        self.completion = ""

    async def open(self) -> None:
        self.session_id = await self.client.session(self.agent_id)
        await self.whole()
        await self.completed()

    def question(self) -> str:
        self.number += 1
        return f"{self.name} asks {self.number}"

    def _post(self, question: str, **headers: str) -> Any:
        return self.client.request(
            "POST", f"/chat/sessions/{self.session_id}/messages", {"content": question, "stream": True}, **headers
        )

    def _check(self, transcript: Transcript, question: str) -> None:
        assert transcript.end is not None, transcript.frames
        assert transcript.end.event == "done"
        assert transcript.text == scripted_answer(question, TOKENS)
        assert {frame.data["turnId"] for frame in transcript.frames if "turnId" in frame.data} == {
            transcript.end.data["turnId"]
        }
        assert all(frame.data.get("sessionId", self.session_id) == self.session_id for frame in transcript.frames)

    async def whole(self) -> None:
        question = self.question()
        async with self._post(question) as answer:
            assert answer.status == 200, await answer.text()
            transcript = await read_to_end(answer, Transcript())
        self._check(transcript, question)
        assert transcript.end is not None
        self.ended_turn = transcript.end.data["turnId"]

    async def aborted_and_resumed(self) -> None:
        """Cut after some bytes, looked at with HEAD, then followed to its end from another place in its stream."""
        question = self.question()
        transcript = Transcript()
        async with self._post(question) as answer:
            assert answer.status == 200, await answer.text()
            await read_to_end(answer, transcript, cut_after=self.random.randrange(300, 900))
        turn_id = transcript.frames[0].data["turnId"]
        await self._head(f"/chat/sessions/{self.session_id}/turns/{turn_id}/events")
        while transcript.end is None:
            status = await self.client.resume(
                self.session_id, turn_id, transcript, cut_after=self.random.choice([400, None])
            )
            assert status == 200
        self._check(transcript, question)

    async def _head(self, path: str) -> None:
        async with self.client.request("HEAD", path) as answer:
            assert answer.status == 200
            assert await answer.read() == b""

    async def heads(self) -> None:
        await self._head(f"/chat/sessions/{self.session_id}/turns/{self.ended_turn}/events")
        await self._head(f"/chat/completions/{self.completion}?stream=true")
        await self._head("/models")

    async def models(self) -> None:
        status, body = await self.client.call("GET", "/models")
        assert status == 200
        assert {model["id"] for model in body["data"]} == {self.agent_id, self.failing_id}

    async def refused(self) -> None:
        status, body = await self.client.call("GET", f"/chat/sessions/{new_id('ses')}")
        assert (status, body["code"]) == (404, "session_not_found")

    async def completed(self) -> None:
        question = self.question()
        status, body = await self.client.call("POST", "/chat/completions", self._completion(self.agent_id, question))
        assert status == 200, body
        assert body["choices"][0]["message"]["content"] == scripted_answer(question, TOKENS)
        self.completion = body["id"]

    def _completion(self, model: str, question: str, **more: Any) -> dict[str, Any]:
        return {"model": model, "messages": [{"role": "user", "content": question}], "store": True, **more}

    async def chunks(self) -> None:
        question = self.question()
        body = self._completion(self.agent_id, question, stream=True)
        async with self.client.request("POST", "/chat/completions", body) as answer:
            assert answer.status == 200
            raw = await answer.read()
        *blocks, rest = raw.split(b"\n\n")
        events = [block.removeprefix(b"data: ") for block in blocks if not block.startswith(b":")]
        assert (events.pop(), rest) == (b"[DONE]", b"")
        told = [orjson.loads(event) for event in events]
        assert {chunk["model"] for chunk in told} == {self.agent_id}
        assert len({chunk["id"] for chunk in told}) == 1
        text = "".join(choice["delta"].get("content") or "" for chunk in told for choice in chunk["choices"])
        assert text == scripted_answer(question, TOKENS)

    async def errored(self) -> None:
        """A stream of chunks that fails is broken off; a session's stream ends with an `error` frame."""
        session_id = await self.client.session(self.failing_id)
        path, body = f"/chat/sessions/{session_id}/messages", {"content": self.question(), "stream": True}
        async with self.client.request("POST", path, body) as answer:
            frames, rest = parse_frames(await answer.read())
        assert (frames[-1].event, rest) == ("error", b"")
        assert frames[0].data["sessionId"] == session_id
        body = self._completion(self.failing_id, self.question(), stream=True)
        async with self.client.request("POST", "/chat/completions", body) as answer:
            raw, is_whole = await _all_of(answer)
        assert not is_whole
        assert b'"error"' in raw
        assert b"HTTP/1.1" not in raw

    def kinds(self) -> list[Callable[[], Awaitable[None]]]:
        return [
            self.whole,
            self.heads,
            self.models,
            self.aborted_and_resumed,
            self.heads,
            self.refused,
            self.chunks,
            self.heads,
            self.completed,
            self.errored,
        ]

    async def ask(self, another: Callable[[int], bool], done: Counter[str]) -> None:
        """Rounds of all kinds of requests in a random order, while `another` wants one more."""
        await self.open()
        rounds = 0
        while another(rounds):
            kinds = self.kinds()
            self.random.shuffle(kinds)
            for kind in kinds:
                await kind()
                done[kind.__name__] += 1
            rounds += 1


@pytest.fixture
async def askers(stack: Stack, nginx: Nginx) -> AsyncIterator[list[Asker]]:
    """Six clients of two workspaces, each on connections of its own to the proxy."""
    chance = seeded()
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as http:
        found = list[Asker]()
        for workspace in (new_id("wsp"), new_id("wsp")):
            key, agents = await _tenant(stack, workspace)
            found += [
                Asker(Client(http, nginx.url, key), *agents, f"{workspace} {number}", random.Random(chance.random()))
                for number in range(ASKERS // 2)
            ]
        yield found


async def _tenant(stack: Stack, workspace: str) -> tuple[str, tuple[str, str]]:
    """A new workspace's key, and its agents: one that answers and one that fails."""
    agents = new_id("agt"), new_id("agt")
    async with stack.history() as history:
        for agent_id, model in zip(agents, (ANSWERS, FAILS), strict=True):
            await history.put_agent(workspace, agent_id, AgentConfig(name="agent", model=ModelChoice(name=model)))
            await history.publish_agent(workspace, agent_id, [])
        scopes = frozenset({Scope.CHAT_READ, Scope.CHAT_WRITE})
        key = await history.create_key(NewKey(workspace=workspace, name="asker", scopes=scopes))
    return key.secret, agents


async def _mix(askers: list[Asker], nginx: Nginx, another: Callable[[int], bool]) -> None:
    done = Counter[str]()
    async with asyncio.TaskGroup() as group:
        for asker in askers:
            group.create_task(asker.ask(another, done))
    print(dict(done))
    complaints = [line for line in nginx.error_log.read_text().splitlines() if "upstream sent" in line]
    assert complaints == [], "the gateway sent bytes that nobody asked for"


async def test_every_byte_behind_a_pooled_proxy_belongs_to_its_asker(askers: list[Asker], nginx: Nginx) -> None:
    await _mix(askers, nginx, lambda rounds: rounds < 2)


@pytest.mark.long
@pytest.mark.timeout(300)
async def test_every_byte_belongs_to_its_asker_for_a_minute(askers: list[Asker], nginx: Nginx) -> None:
    ends = time.monotonic() + 60
    await _mix(askers, nginx, lambda rounds: rounds < 2 or time.monotonic() < ends)
