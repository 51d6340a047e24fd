"""An agent's life over the public API, on the running stack."""

import asyncio
from typing import Any

from tests.conftest import eventually
from tests.system.stack import Client, Stack

SHORT, LONG = "scripted/tokens=5,delay=2", "scripted/tokens=9,delay=2"


async def created(client: Client, model: str = SHORT, **members: Any) -> dict[str, Any]:
    body = {"name": "A life", "model": {"name": model}, **members}
    status, answer = await client.call("POST", "/agents", body)
    assert status == 201, answer
    agent: dict[str, Any] = answer["data"]
    return agent


async def published(client: Client, agent_id: str, **members: Any) -> int:
    """Publishes, and waits until the version is the one that new sessions get. Its number."""
    status, answer = await client.call("POST", f"/agents/{agent_id}/publish", members)
    assert status == 202, answer
    number = int(answer["data"]["number"])

    async def is_published() -> bool:
        _, version = await client.call("GET", f"/agents/{agent_id}/versions/{number}")
        return bool(version["data"]["state"] == "published")

    await eventually(is_published, what=f"version {number}")
    return number


async def changed(client: Client, agent_id: str, **members: Any) -> None:
    status, answer = await client.call("PATCH", f"/agents/{agent_id}", members)
    assert status == 200, answer


async def test_a_session_keeps_its_version_whatever_happens_to_the_agent(stack: Stack, client: Client) -> None:
    agent = await created(client)
    agent_id = agent["id"]
    status, refusal = await client.call("POST", "/chat/sessions", {"agentId": agent_id})
    assert (status, refusal["code"]) == (409, "no_published_version")
    assert await published(client, agent_id, note="the first") == 1
    first = await client.session(agent_id)
    text = (await client.ask(first, "one")).text

    await changed(client, agent_id, model={"name": LONG})
    assert (await client.ask(first, "one")).text == text, "a draft changes no session"
    assert await published(client, agent_id) == 2
    second = await client.session(agent_id)
    longer = (await client.ask(second, "one")).text
    assert len(longer.split()) > len(text.split())
    assert (await client.ask(first, "one")).text == text, "a new version changes no session"

    status, answer = await client.call("POST", f"/agents/{agent_id}/rollback", {"version": 1})
    assert status == 200, answer
    third = await client.session(agent_id)
    assert (await client.ask(third, "one")).text == text
    assert (await client.ask(second, "one")).text == longer, "a rollback changes no session"

    status, listed = await client.call("GET", f"/agents/{agent_id}/versions")
    assert [(row["number"], row["note"]) for row in listed["data"]] == [(2, ""), (1, "the first")]
    status, diff = await client.call("GET", f"/agents/{agent_id}/versions/2/diff?against=1")
    assert diff["data"] == [{"field": "model.name", "before": SHORT, "after": LONG}]


async def test_a_draft_session_runs_the_draft_as_it_stands_at_each_turn(stack: Stack, client: Client) -> None:
    agent = await created(client)
    status, answer = await client.call("POST", "/chat/sessions", {"agentId": agent["id"], "draftMode": True})
    assert (status, answer["data"]["agentVersion"]) == (201, 0)
    session_id = answer["data"]["id"]
    short = (await client.ask(session_id, "one")).text
    await changed(client, agent["id"], model={"name": LONG})
    assert len((await client.ask(session_id, "one")).text.split()) > len(short.split())


async def test_publishing_during_fifty_running_sessions_changes_none_of_them(stack: Stack, client: Client) -> None:
    agent_id = (await created(client, "scripted/tokens=20,delay=25"))["id"]
    assert await published(client, agent_id) == 1
    sessions = await asyncio.gather(*(client.session(agent_id) for _ in range(50)))
    running = [asyncio.create_task(client.ask(session, f"question {n}")) for n, session in enumerate(sessions)]

    async def all_started() -> bool:
        rows = await asyncio.gather(*(client.call("GET", f"/chat/sessions/{session}") for session in sessions))
        return all(body["data"]["turnCount"] == 1 for _, body in rows)

    await eventually(all_started, within_s=20, what="fifty running turns")
    await changed(client, agent_id, model={"name": SHORT})
    assert await published(client, agent_id) == 2
    answers = await asyncio.gather(*running)
    starts = [next(frame.data for frame in answer.frames if frame.event == "started") for answer in answers]
    assert {start["agentVersion"] for start in starts} == {1}
    assert {len(answer.text.split()) for answer in answers} == {20}
    again = await asyncio.gather(*(client.ask(session, "again") for session in sessions))
    assert {len(answer.text.split()) for answer in again} == {20}, "a session keeps its version for its later turns"
    late = await client.ask(await client.session(agent_id), "late")
    assert len(late.text.split()) == 5


async def test_two_editors_at_once_and_a_deletion(stack: Stack, client: Client) -> None:
    agent_id = (await created(client))["id"]
    async with client.request("GET", f"/agents/{agent_id}") as answer:
        tag = answer.headers["ETag"]
    patches = [{"greeting": f"Hello {n}"} for n in range(5)]
    results = await asyncio.gather(
        *(client.call("PATCH", f"/agents/{agent_id}", patch, **{"If-Match": tag}) for patch in patches)
    )
    assert sorted(status for status, _ in results) == [200, 409, 409, 409, 409]
    refusal = next(body for status, body in results if status == 409)
    assert (refusal["code"], refusal["currentRevision"]) == ("version_conflict", 2)

    await published(client, agent_id)
    session = await client.session(agent_id)
    await client.ask(session, "one")
    status, _ = await client.call("DELETE", f"/agents/{agent_id}")
    assert status == 200
    status, refusal = await client.call("POST", f"/chat/sessions/{session}/messages", {"content": "two"})
    assert (status, refusal["code"]) == (409, "session_ended")
    assert len(await client.messages(session)) == 2, "the transcript stays"
    status, refusal = await client.call("POST", "/chat/sessions", {"agentId": agent_id})
    assert (status, refusal["code"]) == (404, "agent_not_found")


async def test_a_completion_names_its_agent_by_slug_and_version_and_brings_variables(
    stack: Stack, client: Client
) -> None:
    slug = "echo-of-variables"
    agent_id = (await created(client, slug=slug, instructions="For {{endUser.id}}."))["id"]
    await published(client, agent_id)
    await changed(client, agent_id, model={"name": LONG})
    await published(client, agent_id)
    question = {"messages": [{"role": "user", "content": "hi"}], "user": "ada"}
    counts = []
    for model in (f"{slug}@1", slug, f"{agent_id}@2"):
        status, body = await client.call("POST", "/chat/completions", {"model": model, **question})
        assert status == 200, body
        counts.append(len(body["choices"][0]["message"]["content"].split()))
    assert counts == [5, 9, 9]
    status, body = await client.call("POST", "/chat/completions", {**question, "model": slug, "user": None})
    assert (status, body["error"]["param"]) == (400, "endUser.id")
