"""What the other protocols cost beside completions. To add one, add its line to `FACES`."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any, Final, NamedTuple

import orjson

from tests.bench.load import Figures, Load, run_load
from tests.bench.rig import Rig
from tests.bench.scenarios import Effort, Row, model_name
from tests.bench.targets import Address, Target
from tests.bench.wire import BadAnswer, Event, http_request

# Of an agent, a client's number and a text: the body that asks it.
Ask = Callable[[str, int, str], dict[str, Any]]


class Protocol(NamedTuple):
    """`path` and `body` have the agent's id, or with `by_slug` its slug.

    `piece`: the text of an event, None where it has none. `is_last`: whether an event ends a whole answer.
    """

    path: str
    body: Ask
    piece: Callable[[dict[str, Any]], str | None]
    is_last: Callable[[dict[str, Any]], bool]
    by_slug: bool = False


@dataclass(frozen=True, kw_only=True)
class Face:
    """A protocol as a target."""

    name: str
    address: Address
    key: str
    agent: str
    protocol: Protocol

    def request(self, client: int, text: str) -> bytes:
        path, body = self.protocol.path.format(agent=self.agent), self.protocol.body(self.agent, client, text)
        return http_request("POST", f"/api/v1{path}", self.address.host, self.key, orjson.dumps(body))

    def texts(self, events: Sequence[Event]) -> Iterator[tuple[float, str]]:
        told = [(event.at, orjson.loads(event.data)) for event in events if event.data not in (b"", b"[DONE]")]
        if not told or not self.protocol.is_last(told[-1][1]):
            raise BadAnswer(f"{self.name}: the stream ended without its last event: {events[-2:]!r}")
        for at, event in told:
            if (text := self.protocol.piece(event)) is not None:
                yield at, text


def _ui_chat(agent: str, client: int, text: str) -> dict[str, Any]:
    """A chat for each client."""
    parts = [{"type": "text", "text": text}]
    return {"id": f"{agent} {client}", "messages": [{"id": text, "role": "user", "parts": parts}]}


def _agui_run(agent: str, client: int, text: str) -> dict[str, Any]:
    """A thread for each question: behind an answer it would have to name that."""
    message = {"id": text, "role": "user", "content": text}
    return {"threadId": f"{client} {text}", "runId": text, "messages": [message], "tools": [], "context": []}


def _response(agent: str, client: int, text: str) -> dict[str, Any]:
    """A conversation for each question."""
    return {"model": agent, "input": text, "stream": True}


def _a2a_message(agent: str, client: int, text: str) -> dict[str, Any]:
    """A context for each question: one context has one task at a time."""
    parts = [{"text": text}]
    return {"message": {"messageId": text, "contextId": f"{client} {text}", "role": "ROLE_USER", "parts": parts}}


def _a2a_text(event: dict[str, Any]) -> str | None:
    update = event.get("artifactUpdate")
    return update["artifact"]["parts"][0]["text"] or None if update is not None else None


def _mcp_call(slug: str, client: int, text: str) -> dict[str, Any]:
    """A session for each question."""
    params = {"name": f"ask_{slug}", "arguments": {"message": text}, "_meta": {"progressToken": client}}
    return {"jsonrpc": "2.0", "id": client, "method": "tools/call", "params": params}


def _mcp_text(event: dict[str, Any]) -> str | None:
    """The whole answer, which comes at its end."""
    return event["result"]["content"][0]["text"] if "result" in event else None


def _typed(path: str, body: Ask, kind: str, member: str, last: str) -> Protocol:
    """Of events that say what they are in their `type`."""
    return Protocol(
        path, body, lambda event: event[member] if event["type"] == kind else None, lambda event: event["type"] == last
    )


FACES: Final[dict[str, Protocol]] = {
    "ai-sdk": _typed("/agents/{agent}/ui/chat", _ui_chat, "text-delta", "delta", "finish"),
    "ag-ui": _typed("/agents/{agent}/agui", _agui_run, "TEXT_MESSAGE_CONTENT", "delta", "RUN_FINISHED"),
    "responses": _typed("/responses", _response, "response.output_text.delta", "delta", "response.completed"),
    "a2a": Protocol(
        "/agents/{agent}/a2a/message:stream?A2A-Version=1.0",
        _a2a_message,
        _a2a_text,
        lambda event: event.get("statusUpdate", {}).get("status", {}).get("state") == "TASK_STATE_COMPLETED",
    ),
    "mcp": Protocol("/mcp", _mcp_call, _mcp_text, lambda event: "result" in event, by_slug=True),
}


async def _target(rig: Rig, name: str, model: str) -> Target:
    agent = await rig.agent(model)
    if FACES[name].by_slug:
        agent = (await rig.api("GET", f"/agents/{agent}"))["data"]["slug"]
    return Face(name=name, address=rig.gateway, key=rig.key, agent=agent, protocol=FACES[name])


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
