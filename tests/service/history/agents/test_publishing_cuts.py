"""A publishing that is cut off before each of its writes, and repeated: no version is pointed to before it is stored.

The rules are tried on a planted bug too, which moves the pointer first.
"""

from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from typing import Any

import pytest

from services.history.agents.publishing import Publishing
from services.history.mongo.collection import Collection
from shared.contracts.agent_records import DraftPatch, NewAgent, PublishOrder
from shared.contracts.errors import ApiError, Code
from shared.ids import new_id
from tests.service.history.running import WORKSPACE, History, passage

# More than a publishing makes; the last cuts come after its end.
WRITES = 12
LEFT: ContextVar[list[int] | None] = ContextVar("left", default=None)
PASSAGES = [passage(1), passage(2)]


class Killed(Exception):
    """The process is gone: no write after this one either."""


@pytest.fixture(autouse=True)
def cuts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Writes of the test's own task only: the reconciler goes on."""
    for name in ("insert", "insert_all", "update", "update_all"):
        monkeypatch.setattr(Collection, name, _cut(getattr(Collection, name)))


def _cut(write: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
    async def counted(self: Collection, *arguments: Any) -> Any:
        left = LEFT.get()
        if left is not None:
            if left[0] == 0:
                raise Killed
            left[0] -= 1
        return await write(self, *arguments)

    return counted


async def publish(history: History, agent_id: str, key: str, writes: int | None = None) -> int | None:
    """The version's number; None: it was killed before it answered."""
    token = LEFT.set([writes] if writes is not None else None)
    try:
        record = await history.dependencies.nouns.publishing.publish(
            WORKSPACE, agent_id, PublishOrder(key=key), PASSAGES
        )
    except Killed:
        return None
    finally:
        LEFT.reset(token)
    return record.number


async def violations(history: History, agent_id: str) -> list[str]:
    """What must not be so at any time."""
    agent = await history.documents.agents.find_one({"_id": f"{WORKSPACE}:{agent_id}"})
    rows = await history.documents.agent_versions.find({"agent": agent["_id"]}).to_list(None)
    stored = {row["number"]: row for row in rows}
    found = []
    if len(stored) != len(rows):
        found.append("a number is used twice")
    pointer = agent.get("publishedVersion")
    if pointer is not None and pointer not in stored:
        found.append(f"version {pointer} is published and not stored")
    elif pointer is not None and not stored[pointer]["frozen"]:
        found.append(f"version {pointer} is published before its passages are stored")
    return found


async def broken_by_cuts(history: History) -> set[str]:
    broken: set[str] = set()
    agent_id = new_id("agt")
    draft = {"name": "Cut", "model": {"name": "m"}}
    await history.client.create_draft(WORKSPACE, NewAgent(id=agent_id, draft=draft))
    for writes in range(WRITES):
        patch = {"instructions": f"Cut {writes}."}
        await history.client.patch_draft(WORKSPACE, agent_id, DraftPatch(patch=patch))
        told = await publish(history, agent_id, f"key {writes}", writes)
        broken.update(await violations(history, agent_id))
        if broken:
            return broken
        repeated = await publish(history, agent_id, f"key {writes}")
        record = await history.client.version_record(WORKSPACE, agent_id, repeated or 0)
        if (told or repeated) != repeated or repeated != writes + 1:
            broken.add(f"the repeat of publishing {writes + 1} is version {repeated}")
        if record.config is None or record.config["instructions"] != patch["instructions"]:
            broken.add(f"version {repeated} holds another draft")
        if (await history.client.draft(WORKSPACE, agent_id)).published_version != repeated:
            broken.add(f"version {repeated} is not the published one")
        broken.update(await violations(history, agent_id))
    return broken


async def test_a_publishing_cut_off_before_any_write_is_whole_after_its_repeat(history: History) -> None:
    assert await broken_by_cuts(history) == set()


async def test_a_pointer_that_moves_before_the_version_is_stored_is_found(
    history: History, monkeypatch: pytest.MonkeyPatch
) -> None:
    accept = Publishing._accept

    async def pointing_first(self: Publishing, agent: Any, latest: Any, *rest: Any) -> Any:
        number = (latest["number"] if latest else 0) + 1
        await self._move(agent, number, await self._next_move(agent), "agent.published", None)
        return await accept(self, agent, latest, *rest)

    monkeypatch.setattr(Publishing, "_accept", pointing_first)
    (found,) = await broken_by_cuts(history)
    assert found.endswith("is published and not stored")


async def test_a_session_never_gets_a_version_that_is_still_preparing(history: History) -> None:
    agent_id = new_id("agt")
    draft = {"name": "Cut", "model": {"name": "m"}}
    await history.client.create_draft(WORKSPACE, NewAgent(id=agent_id, draft=draft))
    # The move's number and the version's document.
    assert await publish(history, agent_id, "key", 2) is None
    with pytest.raises(ApiError) as caught:
        await history.session(agent_id)
    assert caught.value.code is Code.NO_PUBLISHED_VERSION
    assert await publish(history, agent_id, "key") == 1
    assert await history.session(agent_id)
