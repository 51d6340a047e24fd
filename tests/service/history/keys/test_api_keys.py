"""Keys in history: rotated, revoked, listed, changed, and used."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any
from unittest.mock import AsyncMock

import pytest

from services.history.audit.records import PENDING
from services.history.keys.api_keys import ApiKeys
from services.history.settings import HistorySettings
from shared.contracts.errors import ApiError, Code
from shared.contracts.key_records import ChangeKey, KeyRecord, PublishableKeyRecord, RotateKey
from shared.contracts.keys import CreatedKey, NewKey, Principal, Publishable, Scope, StoreKey, digest_of, new_secret
from shared.ids import new_id
from shared.key_notices import CHANNEL
from shared.settings import SettingsError
from tests.conftest import eventually
from tests.service.history.running import WORKSPACE, History, running, settings_for

READ = frozenset({Scope.CHAT_READ})


async def refused(call: Any) -> Code:
    with pytest.raises(ApiError) as raised:
        await call
    return raised.value.code


async def key(history: History, workspace: str = WORKSPACE, **members: Any) -> CreatedKey:
    return await history.client.create_key(NewKey(workspace=workspace, scopes=READ, **members))


async def publishable(history: History, agent_id: str = "agt_demo", **members: Any) -> CreatedKey:
    own = Publishable(agent_id=agent_id, allowed_origins=("https://a.example",), **members)
    scopes = frozenset({Scope.CHAT_PUBLIC})
    return await history.client.create_key(NewKey(workspace=WORKSPACE, scopes=scopes, created_by="key_maker"), own)


def rotation(grace_s: int = 0, **members: Any) -> tuple[str, RotateKey]:
    secret = new_secret("live")
    return secret, RotateKey(digest=digest_of(secret), grace_s=grace_s, actor="key_maker", **members)


async def works(history: History, secret: str) -> bool:
    try:
        await history.client.resolve_key(digest_of(secret))
    except ApiError as error:
        if error.code is not Code.INVALID_API_KEY:
            raise
        return False
    return True


async def test_both_secrets_of_a_rotated_key_work_until_its_grace_is_over(history: History) -> None:
    made = await key(history)
    secret, order = rotation(grace_s=600)
    record = await history.client.rotate_key(WORKSPACE, made.id, order)
    assert record.old_secret_until is not None
    assert await works(history, made.secret)
    assert await works(history, secret)
    past = datetime.now(UTC) - timedelta(seconds=1)
    await history.documents["keys"].update_one({"_id": made.id}, {"$set": {"oldUntil": past}})
    assert not await works(history, made.secret)
    assert await works(history, secret)


async def test_without_a_grace_the_old_secret_ends_with_the_rotation(history: History) -> None:
    made = await key(history)
    secret, order = rotation()
    await history.client.rotate_key(WORKSPACE, made.id, order)
    assert not await works(history, made.secret)
    assert await works(history, secret)


async def test_a_second_rotation_ends_the_oldest_secret(history: History) -> None:
    made = await key(history)
    first, order = rotation(grace_s=600)
    await history.client.rotate_key(WORKSPACE, made.id, order)
    second, order = rotation(grace_s=600)
    await history.client.rotate_key(WORKSPACE, made.id, order)
    assert [await works(history, secret) for secret in (made.secret, first, second)] == [False, True, True]


async def test_a_repeated_rotation_rotates_once(history: History) -> None:
    made = await key(history)
    _, order = rotation(grace_s=600)
    await history.client.rotate_key(WORKSPACE, made.id, order)
    await history.client.rotate_key(WORKSPACE, made.id, order)
    assert await works(history, made.secret)
    page = await history.client.audit(WORKSPACE, {"limit": "50"})
    assert [row["action"] for row in page["items"]] == ["key.rotated", "key.created"]


async def test_concurrent_rotations_leave_two_secrets(history: History) -> None:
    made = await key(history)
    orders = [rotation(grace_s=600) for _ in range(6)]
    await asyncio.gather(*(history.client.rotate_key(WORKSPACE, made.id, order) for _, order in orders))
    secrets = [made.secret, *(secret for secret, _ in orders)]
    assert sum([await works(history, secret) for secret in secrets]) == 2


async def test_a_revoked_key_works_with_none_of_its_secrets_and_is_listed_no_more(history: History) -> None:
    made, other = await key(history), await key(history)
    secret, order = rotation(grace_s=600)
    await history.client.rotate_key(WORKSPACE, made.id, order)
    await history.client.revoke_key(WORKSPACE, made.id, actor="key_maker")
    assert not await works(history, made.secret)
    assert not await works(history, secret)
    page = await history.client.keys(WORKSPACE, {"limit": "10"})
    assert [row["id"] for row in page["items"]] == [other.id]
    assert await refused(history.client.rotate_key(WORKSPACE, made.id, rotation()[1])) is Code.NOT_FOUND


async def test_keys_are_listed_in_pages_without_their_digests(history: History) -> None:
    made = [(await key(history, name=f"key {number}")).id for number in range(5)]
    await key(history, workspace="other")
    found, query = list[dict[str, Any]](), {"limit": "2"}
    while True:
        page = await history.client.keys(WORKSPACE, query)
        found += page["items"]
        if page["nextCursor"] is None:
            break
        query["cursor"] = page["nextCursor"]
    assert [row["id"] for row in found] == sorted(made, reverse=True)
    assert {name for row in found for name in row} <= set(KeyRecord.model_validate(found[0]).model_dump(by_alias=True))
    assert "igest" not in str(found)


async def test_a_keys_use_is_written_once_a_minute(history: History) -> None:
    made = await key(history)

    async def used() -> Any:
        await history.client.resolve_key(digest_of(made.secret))
        return (await history.documents["keys"].find_one({"_id": made.id}))["lastUsedAt"]

    first = await used()
    assert first == await used()
    earlier = first - timedelta(seconds=61)
    await history.documents["keys"].update_one({"_id": made.id}, {"$set": {"lastUsedAt": earlier}})
    assert await used() > earlier


async def test_each_change_of_a_key_is_told_to_the_gateways(history: History) -> None:
    channel, made = history.queue.pubsub(), await key(history)
    try:
        await channel.subscribe(CHANNEL)
        await history.client.rotate_key(WORKSPACE, made.id, rotation()[1])
        await history.client.revoke_key(WORKSPACE, made.id)
        told = list[bytes]()

        async def heard() -> bool:
            message = await channel.get_message(ignore_subscribe_messages=True, timeout=0.1)
            if message is not None:
                told.append(message["data"])
            return len(told) == 2

        await eventually(heard, what="both notices")
        assert told == [f"{WORKSPACE}:{made.id}".encode()] * 2
    finally:
        await channel.aclose()  # type: ignore[no-untyped-call]


async def test_a_publishable_key_belongs_to_its_agent_only(history: History) -> None:
    await history.publish()
    await history.client.put_agent(
        WORKSPACE, "agt_two", (await history.client.agent_version(WORKSPACE, "agt_demo", 1)).config
    )
    made = await publishable(history, rate_limit_rpm=60)
    principal = await history.client.resolve_key(digest_of(made.secret))
    assert made.secret.startswith("parley_pk_live_")
    assert (principal.agent_id, principal.allowed_origins) == ("agt_demo", ("https://a.example",))
    assert (principal.rate_limit_rpm, set(principal.scopes)) == (60, {Scope.CHAT_PUBLIC})
    listed = await history.client.publishable_keys(WORKSPACE, "agt_demo", {"limit": "10"})
    assert [row["id"] for row in listed["items"]] == [made.id]
    assert (await history.client.publishable_keys(WORKSPACE, "agt_two", {"limit": "10"}))["items"] == []
    assert (await history.client.keys(WORKSPACE, {"limit": "10"}))["items"] == []
    assert await refused(history.client.revoke_key(WORKSPACE, made.id)) is Code.NOT_FOUND
    assert await refused(history.client.revoke_key(WORKSPACE, made.id, agent_id="agt_two")) is Code.NOT_FOUND
    assert await refused(publishable(history, "agt_absent")) is Code.AGENT_NOT_FOUND


async def test_a_change_of_a_publishable_key_touches_only_what_it_names(history: History) -> None:
    await history.publish()
    made = await publishable(history, rate_limit_rpm=60, daily_tokens=1000)
    change = ChangeKey(agent_id="agt_demo", rate_limit_rpm=None, label="Shop")
    record = await history.client.change_key(WORKSPACE, made.id, change)
    assert isinstance(record, PublishableKeyRecord)
    assert (record.rate_limit_rpm, record.daily_tokens, record.label) == (None, 1000, "Shop")
    assert record.allowed_origins == ("https://a.example",)
    assert await refused(history.client.change_key("other", made.id, change)) is Code.NOT_FOUND


async def test_the_publishable_keys_of_a_deleted_agent_stop_working(history: History) -> None:
    await history.publish()
    made = await publishable(history)
    await history.client.delete_agent(WORKSPACE, "agt_demo", None)
    assert not await works(history, made.secret)


async def test_audit_entries_that_a_killed_history_left_behind_are_delivered(history: History) -> None:
    made = await key(history)
    entry = {"id": new_id("aud"), "at": datetime.now(UTC), "action": "key.rotated", "target": made.id}
    await history.documents["keys"].update_one({"_id": made.id}, {"$push": {PENDING: entry}})

    async def delivered() -> bool:
        page = await history.client.audit(WORKSPACE, {"limit": "50"})
        return entry["id"] in [row["id"] for row in page["items"]]

    await eventually(delivered, what="the audit entry")


async def test_a_bootstrap_key_is_stored_once_and_stays_revoked(
    mongodb_uri: str, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = new_secret("test")
    settings = settings_for(mongodb_uri, redis_url, bootstrap_key=secret, bootstrap_workspace="first")
    announced = AsyncMock()
    monkeypatch.setattr(ApiKeys, "announce", announced)
    async with running(settings) as history:
        await key_of_a_ready(history)

        async def known() -> bool:
            return await works(history, secret) and announced.await_count == 1

        await eventually(known, within_s=20.0, what="the bootstrap key, and the notice of it")
        principal = await history.client.resolve_key(digest_of(secret))
        assert principal.workspace == "first"
        await history.client.rotate_key("first", principal.key_id, rotation()[1])
        await history.client.revoke_key("first", principal.key_id)
    async with running(settings) as history:
        made = await key_of_a_ready(history)

        async def looked() -> bool:
            return (await history.documents["keys"].find_one({"_id": made.id})) is not None

        await eventually(looked)
        await history.dependencies.reconciler.round()
        assert not await works(history, secret)
        assert len(await history.documents["keys"].find({"workspace": "first"}).to_list(None)) == 1


async def key_of_a_ready(history: History) -> CreatedKey:
    async def ready() -> bool:
        try:
            await history.client.ready()
        except ApiError:
            return False
        return True

    await eventually(ready, within_s=20.0, what="a ready history")
    return await key(history)


@pytest.mark.parametrize("text", ["nonsense", "parley_pk_live_" + "a" * 43, "parley_sk_live_" + "a" * 49])
def test_a_bootstrap_key_that_is_no_secret_key_is_refused(text: str) -> None:
    with pytest.raises(SettingsError, match="must be a secret key") as raised:
        HistorySettings.load({"PARLEY_INTERNAL_TOKEN": "x" * 16, "PARLEY_BOOTSTRAP_KEY": text})
    assert text not in str(raised.value)


def test_a_principal_of_a_newer_release_loses_the_scopes_that_are_unknown_here() -> None:
    wire = {"keyId": "key_x", "workspace": "w", "scopes": ["chat:read", "teleport:write"]}
    assert Principal.model_validate(wire).scopes == READ


def test_an_order_with_an_unknown_scope_is_refused() -> None:
    with pytest.raises(ValueError):
        StoreKey.model_validate(
            {"workspace": "w", "scopes": ["teleport:write"], "id": new_id("key"), "digest": "0" * 64}
        )
