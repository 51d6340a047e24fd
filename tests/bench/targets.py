"""Whom the load client can talk to, and how each tells its text: the mock model itself, the OpenAI route, sessions."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple, Protocol
from urllib.parse import urlsplit

import orjson

from deploy.demo.scripted import scripted_answer
from tests.bench.wire import Answer, BadAnswer, Event, Wire, http_request


class Address(NamedTuple):
    host: str
    port: int

    @classmethod
    def of(cls, url: str) -> "Address":
        parts = urlsplit(url)
        return cls(parts.hostname or "127.0.0.1", parts.port or 80)

    async def open(self) -> Wire:
        return await Wire.open(self.host, self.port)


class Target(Protocol):
    """`request(client, text)`: the bytes that ask `text` as the client with this number."""

    @property
    def name(self) -> str: ...

    @property
    def address(self) -> Address: ...

    def request(self, client: int, text: str) -> bytes: ...

    def texts(self, events: Sequence[Event]) -> Iterator[tuple[float, str]]:
        """The pieces of text with their times. Raises BadAnswer when the stream does not end as it should."""


@dataclass(frozen=True)
class Completions:
    """An OpenAI-compatible endpoint: Parley's own, or (`direct`) the mock model."""

    name: str
    address: Address
    path: str
    key: str
    model: str

    def request(self, client: int, text: str) -> bytes:
        body = {
            "model": self.model,
            "stream": True,
            "stream_options": {"include_usage": True},
            "messages": [{"role": "user", "content": text}],
        }
        return http_request("POST", self.path, self.address.host, self.key, orjson.dumps(body))

    def texts(self, events: Sequence[Event]) -> Iterator[tuple[float, str]]:
        if not events or events[-1].data != b"[DONE]":
            raise BadAnswer("the stream ended without [DONE]")
        for event in events[:-1]:
            choices = orjson.loads(event.data)["choices"]
            if choices and (text := choices[0]["delta"].get("content")):
                yield event.at, text


@dataclass(frozen=True)
class Sessions:
    """The session route; each client has a session of its own."""

    name: str
    address: Address
    key: str
    ids: Sequence[str]

    def request(self, client: int, text: str) -> bytes:
        body = orjson.dumps({"content": text, "stream": True})
        return http_request(
            "POST", f"/api/v1/chat/sessions/{self.ids[client]}/messages", self.address.host, self.key, body
        )

    def texts(self, events: Sequence[Event]) -> Iterator[tuple[float, str]]:
        if not events or events[-1].name != "done":
            raise BadAnswer(f"the stream ended without done: {events[-1:]!r}")
        for event in events:
            if event.name == "delta":
                yield event.at, orjson.loads(event.data)["text"]


class Reading(NamedTuple):
    """What one stream came to, all in seconds. `events` are kept for what a scenario wants to know besides."""

    first_s: float
    whole_s: float
    gaps_s: list[float]
    tokens: int
    answer: Answer


def read(target: Target, answer: Answer, question: str, tokens: int) -> Reading:
    """Checks that every token of the answer came, once and in order. Raises BadAnswer."""
    pieces = list(target.texts(answer.events()))
    told, due = "".join(text for _, text in pieces), scripted_answer(question, tokens)
    if told != due:
        raise BadAnswer(f"{target.name}: {len(told)} characters came instead of {len(due)}, or others")
    times = [at for at, _ in pieces]
    gaps = [after - before for before, after in pairwise(times)]
    return Reading(times[0] - answer.sent_at, answer.ended_at - answer.sent_at, gaps, tokens, answer)
