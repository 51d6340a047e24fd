"""Checks over the public API, on the running stack: an agent is tested before it is published."""

import os
import signal
from contextlib import suppress
from functools import partial
from typing import Any

import pytest

from tests.conftest import eventually
from tests.system.stack import Client, Stack
from tests.system.test_agents import changed, created, published

# With `json` the scripted model repeats the question, so its answer is known.
ECHO, OTHER = "scripted/text=json", "scripted/tokens=3,text=echo"
CHECK = {
    "name": "repeats the question",
    "steps": [
        {"user": "the pizza is hot", "expect": [{"contains": "pizza"}, {"finishReason": "stop"}, {"maxTokens": 500}]},
        {"user": "and the wine is cold", "expect": [{"matches": "(?i)wine"}]},
    ],
}
WRONG = {"name": "says the hours", "steps": [{"user": "the pizza is hot", "expect": [{"contains": "from 11 to 22"}]}]}


async def put(client: Client, agent_id: str, *checks: dict[str, Any], **headers: str) -> tuple[int, Any]:
    return await client.call("PUT", f"/agents/{agent_id}/checks", {"checks": list(checks)}, **headers)


async def run(client: Client, agent_id: str, **target: Any) -> dict[str, Any]:
    status, answer = await client.call("POST", f"/agents/{agent_id}/checks/run", target)
    assert status == 202, answer
    found: list[dict[str, Any]] = [answer["data"]]

    async def has_ended() -> bool:
        _, answer = await client.call("GET", f"/agents/{agent_id}/checks/runs/{found[0]['id']}")
        found.append(answer["data"])
        return bool(answer["data"]["state"] != "running")

    await eventually(has_ended, within_s=60.0, what="the end of the run")
    return found[-1]


async def version(client: Client, agent_id: str, number: int) -> dict[str, Any]:
    found: list[dict[str, Any]] = []

    async def is_decided() -> bool:
        _, answer = await client.call("GET", f"/agents/{agent_id}/versions/{number}")
        found.append(answer["data"])
        return bool(answer["data"]["state"] != "preparing")

    await eventually(is_decided, within_s=60.0, what=f"version {number}")
    return found[-1]


async def test_an_agent_is_applied_checked_mended_published_and_rolled_back(stack: Stack, client: Client) -> None:
    agent_id = (await created(client, ECHO))["id"]
    status, answer = await put(client, agent_id, CHECK, WRONG)
    assert (status, answer["data"]["revision"]) == (200, 1), answer

    first = await run(client, agent_id, draft=True)
    assert (first["state"], first["passed"], first["failed"]) == ("failed", 1, 1), first
    reasons = {result["name"]: [failure["message"] for failure in result["failures"]] for result in first["results"]}
    assert reasons == {CHECK["name"]: [], WRONG["name"]: ['The answer does not contain "from 11 to 22".']}

    status, answer = await client.call("POST", f"/agents/{agent_id}/publish", {"requireChecks": True})
    assert (status, answer["data"]["state"]) == (202, "preparing"), answer
    refused = await version(client, agent_id, 1)
    assert refused["state"] == "failed"
    assert refused["reason"].startswith(f"These checks failed: {WRONG['name']}.")
    status, answer = await client.call("POST", "/chat/sessions", {"agentId": agent_id})
    assert (status, answer["code"]) == (409, "no_published_version")

    assert (await put(client, agent_id, CHECK))[0] == 200
    assert (await run(client, agent_id, draft=True))["state"] == "passed"
    status, answer = await client.call("POST", f"/agents/{agent_id}/publish", {"requireChecks": True})
    assert (status, answer["data"]["number"]) == (202, 2)
    checked = await version(client, agent_id, 2)
    assert checked["state"] == "published", checked
    _, passed = await client.call("GET", f"/agents/{agent_id}/checks/runs/{checked['checkRun']}")
    assert (passed["data"]["state"], passed["data"]["comparedWith"]) == ("passed", 1)
    assert passed["data"]["results"][0]["before"] == "passed"

    session = await client.session(agent_id)
    text = (await client.ask(session, "the pizza is hot")).text
    await changed(client, agent_id, model={"name": OTHER})
    assert await published(client, agent_id) == 3
    assert (await client.ask(session, "the pizza is hot")).text == text, "a session keeps its version"
    other = (await client.ask(await client.session(agent_id), "the pizza is hot")).text
    assert other != text
    status, answer = await client.call("POST", f"/agents/{agent_id}/rollback", {"version": 2})
    assert status == 200, answer
    assert (await client.ask(await client.session(agent_id), "the pizza is hot")).text == text


async def test_a_rubric_is_judged_by_a_model_that_a_worker_asks(stack: Stack, client: Client) -> None:
    """The scripted judge passes an answer that contains the criterion, and the scripted agent repeats its question."""
    agent_id = (await created(client, ECHO))["id"]
    steps = [{"user": "the pizza is hot", "expect": [{"contains": "hot"}, {"rubric": "PIZZA"}]}]
    later = [*steps, {"user": "the wine is cold", "expect": [{"rubric": "cheese"}]}]
    status, answer = await put(client, agent_id, {"name": "met", "steps": steps}, {"name": "not met", "steps": later})
    assert status == 200, answer
    ended = await run(client, agent_id, draft=True)
    results = {result["name"]: result for result in ended["results"]}
    assert (results["met"]["state"], results["not met"]["state"]) == ("passed", "failed"), ended
    failures = [(failure["expectation"], failure["message"]) for failure in results["not met"]["failures"]]
    assert failures == [("rubric", "cheese — It is not said.")]


async def test_checks_leave_no_session_and_no_completion_behind(stack: Stack, client: Client) -> None:
    agent_id = (await created(client, ECHO))["id"]
    await put(client, agent_id, CHECK)
    ended = await run(client, agent_id, draft=True)
    assert ended["state"] == "passed", ended
    _, page = await client.call("GET", f"/chat/sessions?agentId={agent_id}")
    assert page["data"] == []
    turn_id = ended["results"][0]["steps"][0]["turnId"]
    _, turn = await client.call("GET", f"/chat/turns/{turn_id}")
    session_id = (turn.get("data") or {}).get("sessionId")
    assert (await client.call("GET", f"/chat/sessions/{session_id}"))[0] == 404


@pytest.mark.long
async def test_killed_histories_and_workers_neither_lose_nor_double_a_step(stack: Stack, client: Client) -> None:
    agent_id = (await created(client, "scripted/text=json,delay=100,tokens=20"))["id"]
    names = ("one", "two", "three", "four", "five")
    await put(client, agent_id, *({**CHECK, "name": name} for name in names))
    status, answer = await client.call("POST", f"/agents/{agent_id}/checks/run", {"draft": True})
    assert status == 202, answer
    path = f"/agents/{agent_id}/checks/runs/{answer['data']['id']}"
    ended: list[dict[str, Any]] = []

    async def reached(steps: int) -> bool:
        """Histories that were just killed do not answer."""
        status, answer = await client.call("GET", path)
        if status != 200:
            return False
        if answer["data"]["state"] != "running":
            ended.append(answer["data"])
        return bool(ended) or sum(len(result["steps"]) for result in answer["data"]["results"]) >= steps

    for steps in (1, 4, 7):
        await eventually(partial(reached, steps), within_s=60.0)
        for group in ("history", "worker"):
            for pid in stack.facts["pids"][group]:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
    await eventually(lambda: bool(ended) or reached(99), within_s=120.0, what="the end of the run")
    assert ended[-1]["state"] == "passed", ended[-1]
    turns = [step["turnId"] for result in ended[-1]["results"] for step in result["steps"]]
    assert len(turns) == len(set(turns)) == 2 * len(names)


async def test_the_demo_agent_passes_its_own_checks(stack: Stack, client: Client) -> None:
    agent_id = stack.facts["agentId"]
    _, page = await client.call("GET", f"/agents/{agent_id}")
    ended = await run(client, agent_id, version=page["data"]["publishedVersion"])
    assert ended["state"] == "passed", ended


async def test_what_cannot_be_checked_is_refused(stack: Stack, client: Client) -> None:
    agent_id = (await created(client, ECHO))["id"]
    path = f"/agents/{agent_id}/checks"
    status, answer = await client.call("POST", path + "/run", {"draft": True})
    assert (status, answer["code"]) == (422, "validation_failed")
    assert (await put(client, agent_id, CHECK))[0] == 200
    for body in ({}, {"draft": True, "version": 1}, {"version": 0}, {"draft": "yes"}):
        status, answer = await client.call("POST", path + "/run", body)
        assert (status, answer["code"]) == (422, "validation_failed"), body
    assert (await client.call("POST", path + "/run", {"version": 7}))[0] == 404
    status, answer = await put(client, agent_id, {"name": "x", "steps": [{"user": "Q", "expect": [{"contian": "a"}]}]})
    assert status == 422
    assert "Did you mean contains?" in answer["errors"][0]["message"]
    status, answer = await put(client, agent_id, **{"If-Match": '"7"'})
    assert (status, answer["code"], answer["currentRevision"]) == (409, "version_conflict", 1)
    once = [await client.call("POST", path + "/run", {"draft": True}, **{"Idempotency-Key": "k"}) for _ in range(2)]
    assert once[0][1]["data"]["id"] == once[1][1]["data"]["id"]
    assert (await client.call("GET", path + "/runs/chk_00000000000000000000000000"))[0] == 404
