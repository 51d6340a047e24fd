"""The operator's commands refuse what no route would accept later."""

import pytest

from deploy.cli.admin import parse
from shared.ids import new_id


@pytest.mark.parametrize("workspace", ["", "a b", "a/b", "../x", "ä", "x" * 65, "a\n"])
@pytest.mark.parametrize("command", [["create-key"], ["publish"]])
def test_a_workspace_that_no_route_accepts_is_refused(
    command: list[str], workspace: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        parse([*command, workspace, "agent.json"] if command == ["publish"] else [*command, workspace])
    assert "workspace's name" in capsys.readouterr().err


@pytest.mark.parametrize("agent", ["support", "agt_demo", "ses_" + "0" * 26, "agt_" + "u" * 26, "agt_" + "0" * 27, ""])
def test_an_agent_id_that_no_route_accepts_is_refused(agent: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse(["publish", "acme", "agent.json", "--agent", agent])
    assert "agt_" in capsys.readouterr().err


def test_ids_that_the_routes_accept_pass() -> None:
    agent = new_id("agt")
    assert parse(["publish", "acme", "agent.json", "--agent", agent]).agent == agent
    assert parse(["create-key", "Team_1-a"]).workspace == "Team_1-a"
