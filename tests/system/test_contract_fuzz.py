"""Generated requests against the running stack: each answer must be one that the OpenAPI document describes."""

import asyncio
import os
import re
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.system.stack import ROOT, Client, Stack

CONFORMANCE = ("status_code", "content_type", "response_headers", "response_schema")
CHECKS = ",".join(["not_a_server_error", *(f"{what}_conformance" for what in CONFORMANCE)])
# For each operation, beyond what its schema alone yields.
EXAMPLES = 8
EXAMPLES_LONG = 40
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
parameters = {{ sessionId = "{other_session}" }}

[[operations]]
include-path-regex = "/agents/"
parameters = {{ agentId = "{other_agent}" }}

[[operations]]
include-method = "DELETE"
parameters = {{ completionId = "{other_completion}", responseId = "{other_response}" }}
"""


async def _ids(stack: Stack, client: Client) -> dict[str, str]:
    agent_id = await stack.publish("scripted/tokens=2,text=echo")
    body: dict[str, Any] = {"model": agent_id, "messages": [{"role": "user", "content": "hi"}], "store": True}
    session = await client.session(agent_id)
    _, posted = await client.call("POST", f"/chat/sessions/{session}/messages", {"content": "hi"})
    completions = [(await client.call("POST", "/chat/completions", body))[1]["id"] for _ in range(2)]
    asked = {"model": agent_id, "input": "hi"}
    responses = [(await client.call("POST", "/responses", asked))[1]["id"] for _ in range(2)]
    return {
        "agent": agent_id,
        "other_agent": await stack.publish("scripted/tokens=2,text=echo"),
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


@pytest.mark.parametrize(
    "examples",
    [
        pytest.param(EXAMPLES, marks=pytest.mark.timeout(600)),
        pytest.param(EXAMPLES_LONG, marks=[pytest.mark.long, pytest.mark.timeout(1800)]),
    ],
)
async def test_generated_requests_meet_no_answer_that_the_document_does_not_know(
    stack: Stack, client: Client, tmp_path: Path, examples: int
) -> None:
    config = tmp_path / "schemathesis.toml"
    ids, before = await _ids(stack, client), await _model_requests(stack, client)
    config.write_text(CONFIG.format(**ids))
    program = Path(sys.executable).with_name("st")
    command = [
        str(program),
        "--config-file",
        str(config),
        "run",
        client.base_url + "/api/v1/openapi.json",
        "--url",
        client.base_url,
    ]
    command += ["--checks", CHECKS, "--phases", "coverage,fuzzing", "-n", str(examples)]
    command += ["--request-timeout", "20", "--suppress-health-check", "all", "--no-color", "--warnings", "off"]
    command += ["-H", f"Authorization: {client.headers['Authorization']}"]
    hooks = {
        "SCHEMATHESIS_HOOKS": "tests.system.fuzz_hooks",
        "PYTHONPATH": str(ROOT),
        "PARLEY_TEST_AGENT_ID": ids["agent"],
    }
    pipes: dict[str, Any] = {"stdout": asyncio.subprocess.PIPE, "stderr": asyncio.subprocess.STDOUT}
    run = await asyncio.create_subprocess_exec(*command, cwd=tmp_path, env={**os.environ, **hooks}, **pipes)
    try:
        raw, _ = await run.communicate()
    finally:
        if run.returncode is None:
            run.kill()
            await run.wait()
    output = raw.decode()
    # The seed is in the output; `st run --seed` repeats it.
    assert run.returncode == 0, output[-20_000:]
    generated = re.search(r"(\d[\d,]*) generated", output)
    assert generated is not None, output[-2000:]
    reached = await _model_requests(stack, client) - before
    print(f"{generated[0]}, {reached} answered by the model")
    # Both counts vary with the seed: what is asserted is only that the run was not an empty one.
    assert int(generated[1].replace(",", "")) >= examples, output[-2000:]
    assert reached > 0
