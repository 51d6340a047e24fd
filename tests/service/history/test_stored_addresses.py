"""Every address that is stored to be called later: a literal one that no call may have is refused when it is given."""

from base64 import b64encode
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Final

import pytest

from shared.contracts.agent_records import DraftPatch, NewAgent
from shared.contracts.errors import ApiError, Code
from shared.contracts.knowledge import NewSource, SourcePatch
from shared.contracts.webhooks import ChangeWebhook, StoreWebhook
from shared.ids import new_id
from tests.conftest import eventually
from tests.service.history.conftest import is_ready
from tests.service.history.running import WORKSPACE, History, running, settings_for

DRAFT: Final[dict[str, Any]] = {"name": "Ada", "model": {"name": "m"}}
REFUSED: Final = (
    "https://169.254.169.254/latest",
    "https://10.0.0.1/",
    "https://192.168.1.1/hook",
    "https://127.0.0.1/",
    "https://[::1]/",
    "https://[fe80::1]/",
    "https://[::ffff:10.0.0.1]/",
    "https://0.0.0.0/",
    "https://8.8.8.8:25/",
)
# Public, listed by its host, in a listed network, and a name: what that stands for is looked at with each call.
ALLOWED: Final = ("https://8.8.8.8/", "https://172.16.0.9:9000/", "https://10.20.3.4/", "https://crm.example/")
ALLOW: Final = "172.16.0.9:9000,10.20.0.0/16"

KEYS: Final = b64encode(bytes(32)).decode()
JUDGE: Final = {"kind": "http", "name": "judge", "stage": "input", "signingSecret": {"value": f"whsec_{KEYS}"}}

Store = Callable[[History, str, str], Awaitable[Any]]


async def webhook(history: History, agent_id: str, url: str) -> None:
    order = StoreWebhook(id=new_id("whk"), url=url, events=("turn.failed",))
    made = await history.client.create_webhook(WORKSPACE, order)
    await history.client.remove_webhook(WORKSPACE, made.id)


async def changed_webhook(history: History, agent_id: str, url: str) -> None:
    order = StoreWebhook(id=new_id("whk"), url="https://hooks.example/", events=("turn.failed",))
    made = await history.client.create_webhook(WORKSPACE, order)
    try:
        await history.client.change_webhook(WORKSPACE, made.id, ChangeWebhook(url=url))
    finally:
        await history.client.remove_webhook(WORKSPACE, made.id)


def read_from(kind: str) -> Store:
    async def store(history: History, agent_id: str, url: str) -> None:
        order = NewSource.model_validate({"id": new_id("src"), "kind": kind, "url": url})
        await history.client.create_source(WORKSPACE, agent_id, order)
        await history.client.delete_source(WORKSPACE, agent_id, order.id, None, purge=True)

    return store


async def changed_source(history: History, agent_id: str, url: str) -> None:
    order = NewSource(id=new_id("src"), kind="url", url=f"https://docs.example/{new_id('src')}")
    made = await history.client.create_source(WORKSPACE, agent_id, order)
    try:
        await history.client.patch_source(WORKSPACE, agent_id, made.id, SourcePatch(url=url))
    finally:
        await history.client.delete_source(WORKSPACE, agent_id, made.id, None, purge=True)


def in_a_draft(**members: Any) -> Store:
    async def store(history: History, agent_id: str, url: str) -> None:
        patch = {name: [{**each, "url": url} for each in listed] for name, listed in members.items()}
        await history.client.patch_draft(WORKSPACE, agent_id, DraftPatch(patch=patch))

    return store


STORED: Final[dict[str, tuple[str, Store]]] = {
    "a webhook": ("url", webhook),
    "a changed webhook": ("url", changed_webhook),
    "a source": ("url", read_from("url")),
    "a sitemap": ("url", read_from("sitemap")),
    "a changed source": ("url", changed_source),
    "a tool": ("tools.0.url", in_a_draft(tools=[{"kind": "http", "name": "look_up"}])),
    "an MCP server": ("tools.0.url", in_a_draft(tools=[{"kind": "mcp", "name": "crm", "allow": ["find"]}])),
    "a guardrail": ("guardrails.0.url", in_a_draft(guardrails=[JUDGE])),
}


@pytest.fixture(params=[{"tool_allow": ALLOW}])
async def history(
    mongodb_uri: str, redis_url: str, database_name: str, request: pytest.FixtureRequest
) -> AsyncIterator[History]:
    """With `tool_allow` history knows what the workers may reach."""
    members = {"mongodb_database": database_name, "secrets_keys": KEYS, "webhook_allow": ALLOW, **request.param}
    async with running(settings_for(mongodb_uri, redis_url, **members)) as started:
        await eventually(lambda: is_ready(started), within_s=20.0, what="a ready history")
        yield started


async def test_an_address_that_no_call_may_have_is_not_stored_and_all_others_are(history: History) -> None:
    agent = await history.client.create_draft(WORKSPACE, NewAgent(id=new_id("agt"), draft=DRAFT))
    for name, (field, store) in STORED.items():
        for url in REFUSED:
            with pytest.raises(ApiError) as refused:
                await store(history, agent.id, url)
            assert refused.value.code is Code.VALIDATION_FAILED, f"{name} {url}"
            assert [fault["field"] for fault in refused.value.errors] == [field], f"{name} {url}"
        for url in ALLOWED:
            await store(history, agent.id, url)


@pytest.mark.parametrize("history", [{}], indirect=True)
async def test_a_history_that_was_not_told_leaves_tools_and_knowledge_to_the_workers(history: History) -> None:
    agent = await history.client.create_draft(WORKSPACE, NewAgent(id=new_id("agt"), draft=DRAFT))
    for name, (_, store) in STORED.items():
        if "webhook" in name:
            with pytest.raises(ApiError):
                await store(history, agent.id, "https://10.0.0.1/")
        else:
            await store(history, agent.id, "https://10.0.0.1/")


async def test_what_citations_point_to_is_not_called_and_may_be_anywhere(history: History) -> None:
    agent = await history.client.create_draft(WORKSPACE, NewAgent(id=new_id("agt"), draft=DRAFT))
    order = NewSource(id=new_id("src"), kind="text", content="Inside.", url="https://10.0.0.1/wiki")
    assert (await history.client.create_source(WORKSPACE, agent.id, order)).url == order.url
