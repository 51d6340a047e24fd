"""The product as a child process, and a client of its public API that parses every frame by hand."""

import asyncio
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import orjson

from shared.contracts.agents import AgentConfig, ModelChoice
from shared.contracts.frame_types import data_faults
from shared.contracts.tools import Tool
from shared.history_client import HistoryClient
from shared.ids import new_id

ROOT = Path(__file__).resolve().parents[2]
TERMINAL = {"done", "error"}


class Stack:
    """A running `python -m deploy.local`, known by its ready file."""

    def __init__(self, process: "subprocess.Popen[bytes]", ready_file: Path) -> None:
        self.process = process
        self._ready_file = ready_file

    @classmethod
    def start(
        cls, directory: Path, *arguments: str, within_s: float = 280.0, environment: Mapping[str, str] | None = None
    ) -> "Stack":
        ready_file = directory / "ready.json"
        ready_file.unlink(missing_ok=True)
        own = {name: value for name, value in os.environ.items() if not name.startswith("PARLEY_")}
        command = [sys.executable, "-m", "deploy.local", "--data-dir", str(directory / "data"), "--port", "0"]
        with (directory / "local.log").open("ab") as output:
            process = subprocess.Popen(
                [*command, "--ready-file", str(ready_file), *arguments],
                cwd=ROOT,
                env={**own, "PARLEY_DEMO_DELAY_MS": "2", **(environment or {})},
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        deadline = time.monotonic() + within_s
        while not ready_file.exists():
            if process.poll() is not None or time.monotonic() > deadline:
                process.terminate()
                raise AssertionError("the stack did not start:\n" + (directory / "local.log").read_text()[-3000:])
            time.sleep(0.05)
        return cls(process, ready_file)

    def stop(self) -> None:
        self.process.send_signal(signal.SIGINT)
        try:
            self.process.wait(45)  # A worker that cannot end its turns hands them back after 30 s.
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise

    @property
    def data_dir(self) -> Path:
        return self._ready_file.parent / "data"

    @property
    def facts(self) -> dict[str, Any]:
        """As the ready file stands now: pids change when a process is restarted."""
        facts: dict[str, Any] = orjson.loads(self._ready_file.read_bytes())
        return facts

    @asynccontextmanager
    async def history(self) -> AsyncIterator[HistoryClient]:
        facts = self.facts
        async with HistoryClient(facts["historyUrls"], facts["internalToken"], timeout_s=15) as history:
            yield history

    async def publish(self, model: str, *, tools: tuple[Tool, ...] = (), **config: Any) -> str:
        """A new agent behind one of the scripted models; its id."""
        agent_id = new_id("agt")
        workspace = self.facts["workspace"]
        async with self.history() as history:
            await history.put_agent(
                workspace, agent_id, AgentConfig(name=model[:100], model=ModelChoice(name=model), tools=tools, **config)
            )
            await history.publish_agent(workspace, agent_id, [])
        return agent_id


@dataclass
class Frame:
    id: str | None
    event: str
    data: dict[str, Any]


@dataclass
class Transcript:
    """What one reader of a turn has assembled, by the rules of the API document."""

    frames: list[Frame] = field(default_factory=list)
    text: str = ""
    last_id: str | None = None

    def apply(self, frame: Frame) -> None:
        self.frames.append(frame)
        if frame.event == "delta":
            self.text += frame.data["text"]
        elif frame.event == "restarted":
            self.text = ""
        if frame.id is not None:
            self.last_id = frame.id

    @property
    def end(self) -> Frame | None:
        return self.frames[-1] if self.frames and self.frames[-1].event in TERMINAL else None

    def events(self) -> list[str]:
        return [frame.event for frame in self.frames]


def parse_frames(buffer: bytes) -> tuple[list[Frame], bytes]:
    """Whole frames, and the bytes that are left. Comments are passed over."""
    frames = list[Frame]()
    *blocks, rest = buffer.split(b"\n\n")
    for block in blocks:
        fields = dict(line.split(b": ", 1) for line in block.split(b"\n") if line and not line.startswith(b":"))
        if fields:
            frame_id = fields.get(b"id")
            event, data = fields[b"event"].decode(), orjson.loads(fields[b"data"])
            assert not data_faults(event, data), data_faults(event, data)
            frames.append(Frame(frame_id.decode() if frame_id else None, event, data))
    return frames, rest


class Client:
    """A caller of one gateway (or of the shared port)."""

    def __init__(self, http: aiohttp.ClientSession, base_url: str, key: str) -> None:
        self.http = http
        self.base_url = base_url
        self.headers = {"Authorization": f"Bearer {key}"}

    def request(self, method: str, path: str, body: Any = None, **headers: str) -> Any:
        data = orjson.dumps(body) if body is not None else None
        sent = {**self.headers, **({"Content-Type": "application/json"} if data is not None else {}), **headers}
        return self.http.request(method, f"{self.base_url}/api/v1{path}", data=data, headers=sent)

    async def call(self, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, Any]:
        async with self.request(method, path, body, **headers) as response:
            raw = await response.read()
            return response.status, orjson.loads(raw) if raw else None

    async def session(self, agent_id: str) -> str:
        status, body = await self.call("POST", "/chat/sessions", {"agentId": agent_id})
        assert status == 201, body
        return str(body["data"]["id"])

    async def messages(self, session_id: str) -> list[dict[str, Any]]:
        status, body = await self.call("GET", f"/chat/sessions/{session_id}/messages?limit=200")
        assert status == 200, body
        return list(body["data"])

    async def stored_text(self, session_id: str, turn_id: str) -> str:
        rows = [
            row for row in await self.messages(session_id) if row["turnId"] == turn_id and row["role"] == "assistant"
        ]
        return "".join(row.get("content") or "" for row in rows)

    async def ask(self, session_id: str, content: str, **headers: str) -> Transcript:
        """Posts with `stream` and reads to the end."""
        async with self.request(
            "POST", f"/chat/sessions/{session_id}/messages", {"content": content, "stream": True}, **headers
        ) as answer:
            assert answer.status == 200, await answer.text()
            return await read_to_end(answer, Transcript())

    async def resume(self, session_id: str, turn_id: str, so_far: Transcript, *, cut_after: int | None = None) -> int:
        """Follows a turn from where `so_far` stands. The status of the answer."""
        headers = {"Last-Event-ID": so_far.last_id} if so_far.last_id else {}
        async with self.request("GET", f"/chat/sessions/{session_id}/turns/{turn_id}/events", **headers) as answer:
            if answer.status == 200:
                await read_to_end(answer, so_far, cut_after=cut_after)
            return int(answer.status)


async def read_to_end(answer: aiohttp.ClientResponse, into: Transcript, *, cut_after: int | None = None) -> Transcript:
    """Applies frames until the stream ends, or drops it after so many bytes. Half a frame counts for nothing."""
    buffer, seen = b"", 0
    try:
        async for chunk in answer.content.iter_any():
            taken = chunk if cut_after is None else chunk[: max(0, cut_after - seen)]
            seen += len(chunk)
            frames, buffer = parse_frames(buffer + taken)
            for frame in frames:
                into.apply(frame)
            if cut_after is not None and seen >= cut_after:
                answer.close()
                break
    except aiohttp.ClientError:
        pass  # The server went away; the caller sees that there is no terminal frame.
    return into


async def gather_bounded(count: int, width: int, work: Callable[[int], Any]) -> list[Any]:
    """`work(0) … work(count - 1)`, at most `width` at a time."""
    gate = asyncio.Semaphore(width)

    async def one(number: int) -> Any:
        async with gate:
            return await work(number)

    return await asyncio.gather(*(one(number) for number in range(count)))


def seeded() -> random.Random:
    """Randomness that a failing run can be repeated with."""
    seed = int(os.environ.get("PARLEY_TEST_SEED", random.randrange(2**32)))
    print(f"PARLEY_TEST_SEED={seed}")
    return random.Random(seed)
