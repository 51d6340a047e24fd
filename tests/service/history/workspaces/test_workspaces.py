"""Workspaces: created, listed, and deleted with everything that belongs to them."""

from datetime import timedelta
from typing import Any

import pytest

from services.history.erasures import receipts
from shared.contracts.errors import ApiError, Code
from shared.contracts.frames import BEGINNING
from shared.contracts.keys import NewKey, Scope, digest_of
from tests.conftest import eventually
from tests.service.history.running import WORKSPACE, History, completion


async def refused(call: Any) -> Code:
    with pytest.raises(ApiError) as raised:
        await call
    return raised.value.code


async def key(history: History, workspace: str) -> str:
    return (await history.client.create_key(NewKey(workspace=workspace, scopes=frozenset({Scope.CHAT_READ})))).secret


async def deleted(history: History, workspace: str = WORKSPACE) -> None:
    await history.client.delete_workspace(workspace)

    async def done() -> bool:
        return (await history.client.workspace(workspace)).status == "deleted"

    await eventually(done, within_s=30.0, what="the receipt")


@pytest.fixture
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(receipts, "STAYS_EMPTY_FOR", timedelta(0))


async def test_a_key_makes_its_workspace(history: History) -> None:
    await key(history, "beta")
    await history.client.create_workspace("alpha")
    await history.client.create_workspace("alpha")
    found, query = list[str](), {"limit": "1"}
    while True:
        page = await history.client.workspaces(query)
        found += [row["name"] for row in page["items"]]
        if page["nextCursor"] is None:
            break
        query["cursor"] = page["nextCursor"]
    assert found == ["alpha", "beta"]


async def test_workspaces_of_keys_made_before_they_had_documents_are_adopted(history: History) -> None:
    await key(history, "alpha")
    await key(history, "beta")
    await history.documents["workspaces"].delete_many({})
    workspaces = history.dependencies.nouns.workspaces
    workspaces._adopted = False
    await workspaces.adopt()
    page = await history.client.workspaces({"limit": "10"})
    assert [row["name"] for row in page["items"]] == ["alpha", "beta"]


@pytest.mark.usefixtures("_no_waiting")
async def test_a_deleted_workspace_leaves_a_receipt_and_nothing_else(history: History) -> None:
    await history.publish()
    secret, other = await key(history, WORKSPACE), await key(history, f"{WORKSPACE}2")
    session = await history.session()
    ended = await history.answer(session)
    active = (await history.admit(session, "And then?")).turn.id
    kept = (await history.client.admit(WORKSPACE, completion(store=True))).turn.id
    await history.enqueue(active)
    await deleted(history)
    for name in await history.documents.list_collection_names():
        for row in await history.documents[name].find({}).to_list(None):
            belongs = row.get("workspace") == WORKSPACE or str(row["_id"]).startswith(f"{WORKSPACE}:")
            # The note for the second erasure names the workspace and turns, for a minute.
            assert not belongs or name in ("workspaces", "erased_logs"), f"{name} still has {row['_id']}"
    for turn_id in (ended, active, kept):
        assert await history.dependencies.logs.tail(WORKSPACE, turn_id) == BEGINNING
        assert await history.queue.position(turn_id) is None
    receipt = (await history.client.workspace(WORKSPACE)).receipt
    assert receipt is not None
    assert receipt.erased["turns"] == 3
    assert {"keys", "sessions", "agents", "agent_versions", "passages", "audit"} <= receipt.erased.keys()
    assert await refused(history.client.resolve_key(digest_of(secret))) is Code.INVALID_API_KEY
    assert (await history.client.resolve_key(digest_of(other))).workspace == f"{WORKSPACE}2"


@pytest.mark.usefixtures("_no_waiting")
async def test_the_name_of_a_deleted_workspace_is_not_given_out_again(history: History) -> None:
    await key(history, WORKSPACE)
    await deleted(history)
    assert await refused(history.client.create_workspace(WORKSPACE)) is Code.GONE
    assert await refused(key(history, WORKSPACE)) is Code.GONE
    assert await history.documents["keys"].count_documents({"workspace": WORKSPACE}) == 0
    assert (await history.client.delete_workspace(WORKSPACE)).status == "deleted"


async def test_a_workspaces_keys_stop_working_when_its_deletion_begins(history: History) -> None:
    secret = await key(history, WORKSPACE)
    workspace = await history.client.delete_workspace(WORKSPACE)
    assert workspace.status == "deleting"
    assert workspace.receipt is None
    assert await refused(history.client.resolve_key(digest_of(secret))) is Code.INVALID_API_KEY


async def test_what_is_written_after_the_first_pass_is_erased_before_the_receipt(
    history: History, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a worker or a gateway does that had begun before."""
    monkeypatch.setattr(receipts, "STAYS_EMPTY_FOR", timedelta(hours=1))
    await history.client.create_workspace(WORKSPACE)
    await history.client.delete_workspace(WORKSPACE)

    async def empty() -> bool:
        return "emptyAt" in await history.documents["workspaces"].find_one({"_id": WORKSPACE})

    await eventually(empty, what="the first pass")
    await history.documents["sessions"].insert_one({"_id": "ses_late", "workspace": WORKSPACE, "status": "active"})
    monkeypatch.setattr(receipts, "STAYS_EMPTY_FOR", timedelta(0))

    async def done() -> bool:
        return (await history.client.workspace(WORKSPACE)).status == "deleted"

    await eventually(done, what="the receipt")
    assert await history.documents["sessions"].find_one({"_id": "ses_late"}) is None


@pytest.mark.usefixtures("_no_waiting")
async def test_a_deletion_that_was_interrupted_is_completed(history: History, monkeypatch: pytest.MonkeyPatch) -> None:
    """A killed history leaves a page half done; here the Redis refuses for a while."""
    await history.publish()
    session = await history.session()
    for _ in range(3):
        await history.answer(session)
    plain, failures = history.dependencies.logs.erase, list[str]()

    async def erase(workspace: str, turn_id: str) -> bool:
        if len(failures) < 3:
            failures.append(turn_id)
            raise ConnectionError
        return await plain(workspace, turn_id)

    monkeypatch.setattr(history.dependencies.logs, "erase", erase)
    await history.client.create_workspace(WORKSPACE)
    await deleted(history)
    assert len(failures) == 3
    assert await history.documents["turns"].count_documents({"workspace": WORKSPACE}) == 0


async def test_an_absent_workspace_is_not_found(history: History) -> None:
    assert await refused(history.client.workspace("nobody")) is Code.NOT_FOUND
    assert await refused(history.client.delete_workspace("nobody")) is Code.NOT_FOUND
