"""What the other protocols cost beside completions. To add one, add its line to `FACES`."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any, Final

import orjson

from tests.bench.load import Figures, Load, run_load
from tests.bench.rig import Rig
from tests.bench.scenarios import Effort, Row, model_name
from tests.bench.targets import Address, Target
from tests.bench.wire import BadAnswer, Event, http_request

# Of an agent, a client's number and a text: the body that asks it.
Ask = Callable[[str, int, str], dict[str, Any]]


@dataclass(frozen=True, kw_only=True)
class Face:
    """A protocol as a target. `text` is the member of an event with a piece of text.

    `kind` is such an event's `type`, `last` that of the stream's last event that is no `[DONE]`.
    """

    name: str
    address: Address
    key: str
    agent: str
    path: str
    body: Ask
    kind: str
    text: str
    last: str

    def request(self, client: int, text: str) -> bytes:
        path, body = self.path.format(agent=self.agent), self.body(self.agent, client, text)
        return http_request("POST", f"/api/v1{path}", self.address.host, self.key, orjson.dumps(body))

    def texts(self, events: Sequence[Event]) -> Iterator[tuple[float, str]]:
        told = [(event.at, orjson.loads(event.data)) for event in events if event.data != b"[DONE]"]
        if not told or told[-1][1]["type"] != self.last:
            raise BadAnswer(f"{self.name}: the stream ended without {self.last}: {events[-2:]!r}")
        for at, event in told:
            if event["type"] == self.kind:
                yield at, event[self.text]


def _ui_chat(agent: str, client: int, text: str) -> dict[str, Any]:
    """A chat for each client."""
    parts = [{"type": "text", "text": text}]
    return {"id": f"{agent} {client}", "messages": [{"id": text, "role": "user", "parts": parts}]}


def _agui_run(agent: str, client: int, text: str) -> dict[str, Any]:
    """A thread for each question: behind an answer it would have to name that."""
    message = {"id": text, "role": "user", "content": text}
    return {"threadId": f"{client} {text}", "runId": text, "messages": [message], "tools": [], "context": []}


# By name: the path, how to ask, the type of a piece of text, its member, and the type of the last event.
FACES: Final[dict[str, tuple[str, Ask, str, str, str]]] = {
    "ai-sdk": ("/agents/{agent}/ui/chat", _ui_chat, "text-delta", "delta", "finish"),
    "ag-ui": ("/agents/{agent}/agui", _agui_run, "TEXT_MESSAGE_CONTENT", "delta", "RUN_FINISHED"),
}


async def _target(rig: Rig, name: str, model: str) -> Target:
    path, body, kind, text, last = FACES[name]
    return Face(
        name=name,
        address=rig.gateway,
        key=rig.key,
        agent=await rig.agent(model),
        path=path,
        body=body,
        kind=kind,
        text=text,
        last=last,
    )


async def faces(rig: Rig, effort: Effort) -> list[Row]:
    """Each face behind a run of completions, in every round. The ratio is the median of these pairs."""
    tokens = 128 if effort.quick else 400
    load, model = Load(clients=50, turns=1, tokens=tokens, spread_s=2.0), model_name(tokens, 20, 100)
    completions = await rig.completions(model)
    rows = list[Row]()
    for name in FACES:
        face, pairs = await _target(rig, name, model), list[tuple[Figures, Figures]]()
        for number in range(effort.rounds):
            before = await run_load(completions, load, rig.meter, f"before {name} {number}")
            pairs.append((before, await run_load(face, load, rig.meter, f"{name} {number}")))
        rows.append(_row(name, f"50 streams, {tokens} tokens at 20 ms", pairs))
    return rows


def _row(name: str, title: str, pairs: Sequence[tuple[Figures, Figures]]) -> Row:
    row: Row = {"scenario": title, "target": name, "rounds": len(pairs)}
    for label, services in (("gateway", ("gateway",)), ("gateway + worker", ("gateway", "worker"))):
        row[label] = median(face.per_1000(*services) for _, face in pairs)
        row[f"{label}, times completions"] = median(
            face.per_1000(*services) / other.per_1000(*services) for other, face in pairs
        )
    row["TTFT ms"] = median(face.first_s * 1000 for _, face in pairs)
    return row
