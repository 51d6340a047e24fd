"""Agents, their frozen versions, and keys."""

import asyncio
from typing import Any

import aiohttp
import pytest
from pydantic import ValidationError

from shared.contracts.agent_records import NewAgent
from shared.contracts.errors import ApiError, Code
from shared.contracts.keys import NewKey, Scope, StoreKey, digest_of, new_secret
from shared.contracts.tools import HttpTool
from shared.history_client import HistoryClient
from shared.ids import new_id
from tests.service.history.running import WORKSPACE, History, config, passage


async def refused(call: Any) -> Code:
    with pytest.raises(ApiError) as raised:
        await call
    return raised.value.code


async def test_a_draft_is_replaced_and_a_published_version_is_not(history: History) -> None:
    assert await history.publish(instructions="One.") == 1
    await history.client.put_agent(WORKSPACE, "agt_demo", config("Two."))
    assert (await history.client.agent_version(WORKSPACE, "agt_demo", 1)).config.instructions == "One."
    assert (await history.client.agent_version(WORKSPACE, "agt_demo", 0)).config.instructions == "Two."


async def test_the_same_content_is_published_once(history: History) -> None:
    await history.client.put_agent(WORKSPACE, "agt_demo", config())
    passages = [passage(number) for number in range(3)]
    first = await history.client.publish_agent(WORKSPACE, "agt_demo", passages)
    again = await history.client.publish_agent(WORKSPACE, "agt_demo", passages)
    other = await history.client.publish_agent(WORKSPACE, "agt_demo", passages[:2])
    assert (first.number, again.number, other.number) == (1, 1, 2)
    assert (await history.client.published_agent(WORKSPACE, "agt_demo")).published_version == 2


async def test_parallel_publishings_of_different_content_get_different_numbers(history: History) -> None:
    await history.client.put_agent(WORKSPACE, "agt_demo", config())
    versions = await asyncio.gather(
        *(history.client.publish_agent(WORKSPACE, "agt_demo", [passage(n)]) for n in range(8))
    )
    assert sorted(version.number for version in versions) == list(range(1, 9))


async def test_passages_come_back_in_their_order(history: History) -> None:
    await history.client.put_agent(WORKSPACE, "agt_demo", config())
    passages = [passage(number) for number in range(1_203)]
    version = await history.client.publish_agent(WORKSPACE, "agt_demo", passages)
    assert version.passage_count == 1_203
    assert await history.client.passages(WORKSPACE, "agt_demo", version.number) == passages


async def test_schemas_with_dollar_signs_and_dots_survive(history: History) -> None:
    schema = {"type": "object", "properties": {"a.b": {"$ref": "#/$defs/x"}}, "$defs": {"x": {"type": "string"}}}
    tool = {"name": "look_up", "url": "http://127.0.0.1/x", "parameters": schema}
    await history.client.put_agent(WORKSPACE, "agt_demo", config(tools=(tool,)))
    version = await history.client.publish_agent(WORKSPACE, "agt_demo", [])
    (kept,) = version.config.tools
    assert isinstance(kept, HttpTool)
    assert kept.parameters == schema


async def test_only_published_agents_of_the_workspace_are_listed(history: History) -> None:
    await history.publish()
    await history.client.put_agent(WORKSPACE, "agt_draft", config())
    await history.client.put_agent("other", "agt_demo", config())
    assert await listed(history) == (["agt_demo"], False)
    assert await history.client.published_agents("other") == ([], False)
    assert await refused(history.client.published_agent(WORKSPACE, "agt_draft")) is Code.AGENT_NOT_FOUND
    assert await refused(history.client.published_agent("other", "agt_demo")) is Code.AGENT_NOT_FOUND
    assert await refused(history.client.agent_version("other", "agt_demo", 1)) is Code.AGENT_NOT_FOUND


async def test_published_agents_are_listed_whatever_drafts_lie_before_them(history: History) -> None:
    """The list was cut to 1,000 agents before drafts were left out."""
    drafts: list[dict[str, Any]] = [
        {
            "_id": f"{WORKSPACE}:agt_{n:05}",
            "workspace": WORKSPACE,
            "agentId": f"agt_{n:05}",
            "name": "Draft",
            "draft": "{}",
        }
        for n in range(1_100)
    ]
    await history.documents.agents.insert_many(drafts)
    await history.publish("agt_zzz")
    await history.publish("agt_0")
    assert await listed(history) == (["agt_zzz", "agt_0"], False)
    assert await listed(history, None, 1) == (["agt_zzz"], True)


async def listed(history: History, before: str | None = None, limit: int = 1000) -> tuple[list[str], bool]:
    agents, has_more = await history.client.published_agents(WORKSPACE, before, limit)
    return [agent.id for agent in agents], has_more


async def test_published_agents_are_read_in_pages(history: History) -> None:
    for name in ("e", "a", "d", "b", "c"):
        await history.publish(f"agt_{name}")
    await history.client.put_agent(WORKSPACE, "agt_bb", config())
    assert await listed(history, None, 2) == (["agt_e", "agt_d"], True)
    assert await listed(history, "agt_d", 2) == (["agt_c", "agt_b"], True)
    assert await listed(history, "agt_b", 2) == (["agt_a"], False)


async def test_agents_that_an_operator_named_are_among_the_drafts(history: History) -> None:
    """Their ids say no time, and some sort behind every id that does."""
    for name in ("demo", "agt_zzz"):
        await history.publish(name)
    made = await history.client.create_draft(
        WORKSPACE, NewAgent(id=new_id("agt"), draft={"name": "Made", "model": {"name": "any"}})
    )
    page = await history.client.draft_list(WORKSPACE, {"limit": "50"})
    assert [agent["id"] for agent in page["items"]] == ["demo", "agt_zzz", made.id]
    first = await history.client.draft_list(WORKSPACE, {"limit": "1"})
    rest = await history.client.draft_list(WORKSPACE, {"limit": "2", "cursor": first["nextCursor"]})
    assert [agent["id"] for agent in rest["items"]] == ["agt_zzz", made.id]


async def test_a_repeated_order_for_a_key_stores_one_key(history: History) -> None:
    """As the client repeats it when an answer is lost."""
    secret = new_secret("live")
    given: Any = {"workspace": WORKSPACE, "scopes": [Scope.CHAT_READ], "id": new_id("key"), "digest": digest_of(secret)}
    key = StoreKey.model_validate(given)
    for _ in range(2):
        await history.client._post("/keys", key.wire())
    assert (await history.client.resolve_key(digest_of(secret))).key_id == key.id
    assert await history.documents["keys"].count_documents({}) == 1
    for other in ({"id": new_id("key")}, {"digest": digest_of(new_secret("live"))}, {"workspace": "other"}):
        changed = StoreKey.model_validate(given | other)
        assert await refused(history.client._post("/keys", changed.wire())) is Code.VALIDATION_FAILED


async def test_a_key_whose_answer_is_lost_is_created_once(history: History, monkeypatch: pytest.MonkeyPatch) -> None:
    plain, lost = HistoryClient._exchange, list[str]()

    async def exchange(self: HistoryClient, base: str, method: str, path: str, *rest: Any) -> Any:
        answer = await plain(self, base, method, path, *rest)
        if path == "/keys" and not lost:
            lost.append(path)
            raise aiohttp.ClientPayloadError("the answer is lost")
        return answer

    monkeypatch.setattr(HistoryClient, "_exchange", exchange)
    key = await history.client.create_key(NewKey(workspace=WORKSPACE, scopes=frozenset({Scope.CHAT_READ})))
    assert lost
    assert (await history.client.resolve_key(digest_of(key.secret))).key_id == key.id
    assert await history.documents["keys"].count_documents({}) == 1


@pytest.mark.parametrize("workspace", ["", "a b", "a/b", "a:b", "ä", "$ne", "x" * 65, "a\n"])
def test_a_key_for_a_workspace_that_no_route_accepts_is_refused(workspace: str) -> None:
    with pytest.raises(ValidationError):
        NewKey(workspace=workspace, scopes=frozenset())


async def test_a_key_resolves_by_its_digest_until_it_is_revoked(history: History) -> None:
    key = await history.client.create_key(
        NewKey(workspace=WORKSPACE, scopes=frozenset({Scope.CHAT_READ}), retry_guard=True)
    )
    principal = await history.client.resolve_key(digest_of(key.secret))
    assert (principal.key_id, principal.workspace, set(principal.scopes)) == (key.id, WORKSPACE, {Scope.CHAT_READ})
    assert principal.retry_guard
    assert await refused(history.client.revoke_key("other", key.id)) is Code.NOT_FOUND
    await history.client.revoke_key(WORKSPACE, key.id)
    await history.client.revoke_key(WORKSPACE, key.id)
    assert await refused(history.client.resolve_key(digest_of(key.secret))) is Code.INVALID_API_KEY
    assert await refused(history.client.resolve_key(digest_of("parley_sk_live_unknown"))) is Code.INVALID_API_KEY


async def test_the_secret_is_not_stored(history: History) -> None:
    key = await history.client.create_key(NewKey(workspace=WORKSPACE, scopes=frozenset({Scope.CHAT_READ})))
    stored = str(await history.documents["keys"].find({}).to_list(None))
    assert key.secret not in stored
    assert digest_of(key.secret) in stored
