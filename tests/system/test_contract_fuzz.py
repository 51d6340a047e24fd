"""Generated requests against the running stack: each answer must be one that the OpenAPI document describes."""

import asyncio
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest

from tests.system.stack import ROOT, Client, Stack
from tests.system.test_bad_inputs import tracebacks

CONFORMANCE = ("status_code", "content_type", "response_headers", "response_schema")
CHECKS = ",".join(["not_a_server_error", *(f"{what}_conformance" for what in CONFORMANCE)])
# For each operation, beyond what its schema alone yields.
EXAMPLES_SHORT = 2
EXAMPLES = 8
EXAMPLES_LONG = 200
# Sequences of requests that follow the document's links.
SEQUENCES = 5
SEQUENCES_LONG = 150
LEAST_LONG = 20_000
CONFIG = """
[parameters]
sessionId = "{session}"
turnId = "{turn}"
completionId = "{completion}"
responseId = "{response}"
agentId = "{agent}"
model = "{agent}"

# What is ended, erased, changed or published must not be what the others need.
[[operations]]
include-path-regex = "/chat/sessions/[^/]+(/end)?$"
exclude-method = "DELETE"
parameters = {{ sessionId = "{other_session}" }}

# The events of a session that goes on have no end: each request would wait for its time limit.
[[operations]]
include-path-regex = "/chat/sessions/[^/]+/events$"
parameters = {{ sessionId = "{ended_session}" }}

[[operations]]
include-path-regex = "/agents/"
exclude-method = "DELETE"
parameters = {{ agentId = "{other_agent}" }}

[[operations]]
include-method = "DELETE"
[operations.parameters]
completionId = "{other_completion}"
responseId = "{other_response}"
sessionId = "{deleted_session}"
agentId = "{deleted_agent}"
"""


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Its own one: nobody knows what generated requests leave behind, and other tests shall not run beside it."""
    stack = Stack.start(tmp_path_factory.mktemp("generated"), "--gateways", "2", "--workers", "2")
    yield stack
    stack.stop()


async def _ids(stack: Stack, client: Client) -> dict[str, str]:
    agent_id = await stack.publish("scripted/tokens=2,text=echo")
    body: dict[str, Any] = {"model": agent_id, "messages": [{"role": "user", "content": "hi"}], "store": True}
    session = await client.session(agent_id)
    _, posted = await client.call("POST", f"/chat/sessions/{session}/messages", {"content": "hi"})
    completions = [(await client.call("POST", "/chat/completions", body))[1]["id"] for _ in range(2)]
    ended_session = await client.session(agent_id)
    ended, _ = await client.call("POST", f"/chat/sessions/{ended_session}/end")
    assert ended == 200
    asked = {"model": agent_id, "input": "hi"}
    responses = [(await client.call("POST", "/responses", asked))[1]["id"] for _ in range(2)]
    return {
        "agent": agent_id,
        "other_agent": await stack.publish("scripted/tokens=2,text=echo"),
        "deleted_agent": await stack.publish("scripted/tokens=2,text=echo"),
        "deleted_session": await client.session(agent_id),
        "ended_session": ended_session,
        "session": session,
        "other_session": await client.session(agent_id),
        "turn": posted["data"]["turnId"],
        "completion": completions[0],
        "other_completion": completions[1],
        "response": responses[0],
        "other_response": responses[1],
    }


async def _model_requests(stack: Stack, client: Client) -> int:
    async with client.http.get(stack.facts["modelUrl"] + "/stats") as answer:
        return int((await answer.json())["requests"])


async def _store_failures(stack: Stack, client: Client) -> float:
    """Calls of Redis and MongoDB that failed, of all gateways and histories so far."""
    total = 0.0
    for url in [url for name in ("gateway", "history") for url in stack.facts["metrics"][name]]:
        async with client.http.get(url) as answer:
            found = re.findall(r"^parley_store_failures_total\{.*\} (\S+)$", await answer.text(), re.MULTILINE)
        total += sum(map(float, found))
    return total


async def _generated(
    stack: Stack,
    client: Client,
    directory: Path,
    agent_id: str,
    phases: str,
    examples: int,
    config: str = "",
    mode: str = "all",
) -> dict[str, int]:
    """Counts of one run of Schemathesis, one request at a time. `st run --seed` repeats it."""
    settings, counts_file = directory / "schemathesis.toml", directory / f"{phases}.json"
    settings.write_text(config)
    traced, failed = tracebacks(stack), await _store_failures(stack, client)
    command = [str(Path(sys.executable).with_name("st")), "--config-file", str(settings), "run"]
    command += [client.base_url + "/api/v1/openapi.json", "--url", client.base_url, "--workers", "1"]
    command += ["--checks", CHECKS, "--phases", phases, "-n", str(examples), "--mode", mode]
    command += ["--request-timeout", "20", "--suppress-health-check", "all", "--no-color", "--warnings", "off"]
    command += ["-H", f"Authorization: {client.headers['Authorization']}"]
    hooks = {
        "SCHEMATHESIS_HOOKS": "tests.system.fuzz_hooks",
        "PYTHONPATH": str(ROOT),
        "PARLEY_TEST_AGENT_ID": agent_id,
        "PARLEY_TEST_AUTHORIZATION": client.headers["Authorization"],
        "PARLEY_TEST_COUNTS_FILE": str(counts_file),
    }
    pipes: dict[str, Any] = {"stdout": asyncio.subprocess.PIPE, "stderr": asyncio.subprocess.STDOUT}
    run = await asyncio.create_subprocess_exec(*command, cwd=directory, env={**os.environ, **hooks}, **pipes)
    try:
        raw, _ = await run.communicate()
    finally:
        if run.returncode is None:
            run.kill()
            await run.wait()
    output = raw.decode()
    assert run.returncode == 0, output[-20_000:]
    assert tracebacks(stack) == traced
    counted = orjson.loads(counts_file.read_bytes())
    print(phases, counted["counts"])
    # Late each time that it was asked for, also when the stack was quiet: no load, but a request that hangs.
    assert counted["late again"] == []
    # Only a store that failed explains a 503, and its metric tells it.
    assert "repeated after 503" not in counted["counts"] or await _store_failures(stack, client) > failed
    return dict[str, int](counted["counts"])


@pytest.mark.parametrize(
    ("phases", "examples", "least"),
    [
        pytest.param("fuzzing", EXAMPLES_SHORT, 100, marks=pytest.mark.timeout(600)),
        pytest.param("coverage,fuzzing", EXAMPLES, 100 * EXAMPLES, marks=[pytest.mark.long, pytest.mark.timeout(900)]),
        pytest.param(
            "coverage,fuzzing", EXAMPLES_LONG, LEAST_LONG, marks=[pytest.mark.soak, pytest.mark.timeout(1800)]
        ),
    ],
)
async def test_generated_requests_meet_no_answer_that_the_document_does_not_know(
    stack: Stack, client: Client, tmp_path: Path, phases: str, examples: int, least: int
) -> None:
    ids, before = await _ids(stack, client), await _model_requests(stack, client)
    counts = await _generated(stack, client, tmp_path, ids["agent"], phases, examples, CONFIG.format(**ids))
    assert await _model_requests(stack, client) > before
    assert counts["requests"] >= least


@pytest.mark.parametrize(
    "sequences",
    [
        pytest.param(SEQUENCES, marks=pytest.mark.timeout(600)),
        pytest.param(SEQUENCES_LONG, marks=[pytest.mark.long, pytest.mark.timeout(1800)]),
    ],
)
async def test_generated_sequences_of_linked_requests_meet_no_answer_that_the_document_does_not_know(
    stack: Stack, client: Client, tmp_path: Path, sequences: int
) -> None:
    agent_id = await stack.publish("scripted/tokens=2,text=echo")
    # Only what the schemas allow: after a request that is refused there is no link to follow.
    counts = await _generated(stack, client, tmp_path, agent_id, "stateful", sequences, mode="positive")
    assert counts["requests"] >= sequences
