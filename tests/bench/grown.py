"""Whether lists and claims stay flat: long conversations, agents with many versions, workspaces with many agents.

What is measured is made over the API once. Copies of its documents, written straight into the store, make it large; so
a minute is enough. Each figure stands beside the one of something small in the same store, measured in turn with it.
"""

import asyncio
import time
from collections.abc import Iterable, Iterator, Mapping
from statistics import median
from typing import Any, Final

from pymongo import MongoClient

from shared.contracts.keys import NewKey, Scope
from shared.ids import id_at
from tests.bench.grown_workspace import Asking, Workspace
from tests.bench.rig import Rig
from tests.bench.scenarios import Effort, Row, model_name

DATABASE: Final = "parley"
TURNS: Final = 10_000
VERSIONS: Final = 1_000
AGENTS: Final = 10_000
SMALL: Final = 60  # More than a page.
PIECE: Final = 500
MINUTE_MS: Final = 60_000

Document = dict[str, Any]


async def agents(rig: Rig, effort: Effort) -> list[Row]:
    share = 10 if effort.quick else 1
    times = 5 * effort.rounds
    with MongoClient[Document](rig.mongodb_uri) as client:
        store = Store(client)
        small, large = await workspace_of(rig, "bench-small"), await workspace_of(rig, "bench-large")
        rows = [
            *await _conversations(small, store, TURNS // share, times),
            *await _versions(small, store, VERSIONS // share, times),
            *await _many_agents(small, large, store, AGENTS // share, times),
        ]
        small.close()
        large.close()
        return rows


async def workspace_of(rig: Rig, name: str) -> Workspace:
    scopes = frozenset(Scope) - {Scope.CHAT_PUBLIC}
    key = await rig.create_key(NewKey(workspace=name, name="bench", scopes=scopes, environment="test"))
    return Workspace(rig.gateway, name, key)


class Store:
    """Writes documents past the services, in pieces."""

    def __init__(self, client: "MongoClient[Document]") -> None:
        self._database = client.get_database(DATABASE)

    async def one(self, collection: str, where: Document) -> Document:
        row = await asyncio.to_thread(self._database[collection].find_one, where)
        assert row is not None, (collection, where)
        return row

    async def add(self, collection: str, documents: Iterable[Document]) -> None:
        await asyncio.to_thread(self._add, collection, list(documents))

    def _add(self, collection: str, documents: list[Document]) -> None:
        for at in range(0, len(documents), PIECE):
            self._database[collection].insert_many(documents[at : at + PIECE])

    async def change(self, collection: str, key: str, fields: Document) -> None:
        await asyncio.to_thread(self._database[collection].update_one, {"_id": key}, {"$set": fields})


# --- conversations


async def _conversations(workspace: Workspace, store: Store, turns: int, times: int) -> list[Row]:
    agent = await workspace.new_agent(model_name(8, 0, 0))
    sessions = {}
    for count in (SMALL, turns):
        session = await workspace.new_session(agent)
        await workspace.turn(session)
        row = await store.one("turns", {"workspace": workspace.name, "sessionId": session, "n": {"$gte": 1}})
        await store.add("turns", _turns(row, count))
        await store.change("sessions", session, {"turnCount": count})
        sessions[count] = session
    askings = {
        "a turn": workspace.turn,
        "its messages, first page": lambda session: workspace.get(f"/chat/sessions/{session}/messages?order=asc"),
        "its messages, last page": lambda session: workspace.get(f"/chat/sessions/{session}/messages?order=desc"),
        "the session": lambda session: workspace.get(f"/chat/sessions/{session}"),
        "the list of sessions": lambda _: workspace.get("/chat/sessions"),
    }
    return await compared("a session of {} turns", askings, sessions, times)


def _turns(row: Document, count: int) -> Iterator[Document]:
    now = now_ms()
    for number in range(2, count + 1):
        yield {**row, "_id": old_id("trn", now, count - number + 1), "n": number}


# --- versions


async def _versions(workspace: Workspace, store: Store, versions: int, times: int) -> list[Row]:
    agents = {}
    for count in (SMALL, versions):
        agent = await workspace.new_agent(model_name(8, 0, 0))
        key = f"{workspace.name}:{agent}"
        row = await store.one("agent_versions", {"_id": f"{key}:1"})
        numbers = range(2, count + 1)
        await store.add("agent_versions", ({**row, "_id": f"{key}:{n}", "number": n, "move": n} for n in numbers))
        pointer = {"latestVersion": count, "publishedVersion": count, "moves": count, "pointerMove": count}
        await store.change("agents", key, pointer)
        agents[count] = agent
    askings = {
        "its versions, first page": lambda agent: workspace.get(f"/agents/{agent}/versions"),
        "an early version": lambda agent: workspace.get(f"/agents/{agent}/versions/2"),
        "change and publish": workspace.change_and_publish,
        "a session's first turn": workspace.first_turn,
        "a completion": workspace.completion,
    }
    return await compared("an agent with {} versions", askings, agents, times)


# --- many agents


async def _many_agents(small: Workspace, large: Workspace, store: Store, agents: int, times: int) -> list[Row]:
    # Both have a full page of each list.
    workspaces = {agents // 10: small, agents: large}
    known = {}
    for count, workspace in workspaces.items():
        known[count] = await workspace.new_agent(model_name(8, 0, 0))
        row = await store.one("agents", {"_id": f"{workspace.name}:{known[count]}"})
        await store.add("agents", _agents(row, count - 1))
    askings = {
        "the list of agents": lambda count: workspaces[count].get("/agents"),
        "a full page of agents": lambda count: workspaces[count].get("/agents?limit=200"),
        "the models": lambda count: workspaces[count].get("/models"),
        "a completion by id": lambda count: workspaces[count].completion(known[count]),
        "a completion by slug": lambda count: workspaces[count].completion_by_slug(known[count]),
        "a session's first turn": lambda count: workspaces[count].first_turn(known[count]),
    }
    return await compared("a workspace of {} agents", askings, {count: count for count in workspaces}, times)


def _agents(row: Document, count: int) -> Iterator[Document]:
    now = now_ms()
    for number in range(count):
        agent = old_id("agt", now, number + 1)
        yield {**row, "_id": f"{row['workspace']}:{agent}", "agentId": agent, "slug": f"copy-{number}"}


# --- figures


async def compared(title: str, askings: Mapping[str, Asking], subjects: Mapping[int, Any], times: int) -> list[Row]:
    """Per thing asked: the medians for the small and the large one, asked in turn."""
    rows = []
    sizes = tuple(subjects)
    for name, ask in askings.items():
        took: dict[int, list[float]] = {size: [] for size in sizes}
        for number in range(times + 1):
            for size in sizes:
                started = time.perf_counter()
                await ask(subjects[size])
                if number:  # The first of each fills caches.
                    took[size].append((time.perf_counter() - started) * 1000)
        small, large = (median(took[size]) for size in sizes)
        figures = {f"of {sizes[0]} ms": small, f"of {sizes[1]} ms": large, "large by small": large / small}
        rows.append({"scenario": title.format(f"{sizes[1]:,}"), "target": name, "rounds": times, **figures})
    return rows


def now_ms() -> int:
    return time.time_ns() // 1_000_000


def old_id(prefix: str, now_ms: int, minutes: int) -> str:
    return id_at(prefix, now_ms - minutes * MINUTE_MS)
