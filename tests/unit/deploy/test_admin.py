"""The operator's commands refuse what no route would accept later."""

import pytest
from click.testing import CliRunner

from deploy.cli.__main__ import parley
from deploy.cli.admin import agent_id, workspace_name
from shared.ids import new_id


def complaint(*arguments: str) -> str:
    done = CliRunner().invoke(parley, ["admin", *arguments])
    assert done.exit_code == 2, done.output
    return done.output


@pytest.mark.parametrize("workspace", ["", "a b", "a/b", "../x", "ä", "x" * 65, "a\n"])
@pytest.mark.parametrize("command", ["create-key", "publish"])
def test_a_workspace_that_no_route_accepts_is_refused(command: str, workspace: str) -> None:
    assert "workspace's name" in complaint(command, workspace, *(["agent.json"] if command == "publish" else []))


@pytest.mark.parametrize("agent", ["support", "agt_demo", "ses_" + "0" * 26, "agt_" + "u" * 26, "agt_" + "0" * 27, ""])
def test_an_agent_id_that_no_route_accepts_is_refused(agent: str) -> None:
    assert "agt_" in complaint("publish", "acme", "agent.json", "--agent", agent)


def test_ids_that_the_routes_accept_pass() -> None:
    agent = new_id("agt")
    assert agent_id(None, None, agent) == agent  # type: ignore[arg-type]
    assert workspace_name(None, None, "Team_1-a") == "Team_1-a"  # type: ignore[arg-type]
