"""`parley agents publish|versions|rollback`: an agent's versions."""

import asyncio
from typing import Any, Final

import click

from deploy.cli.agent_lookup import find_agent
from deploy.cli.agents import agents
from deploy.cli.check_runs import show_run, watch_run
from deploy.cli.commands import Cli, api_command
from deploy.cli.exits import CliError

POLL_S: Final = 0.3


@api_command(agents, "publish")
@click.argument("agent")
@click.option("--note", default="", help="What changed, for the list of versions.")
@click.option("--require-checks", is_flag=True, help="Publish only if all checks pass.")
@click.option("--no-wait", is_flag=True, help="Do not wait until the version is ready.")
async def publish(cli: Cli, agent: str, *, note: str, require_checks: bool, no_wait: bool) -> None:
    """Freeze the draft as the next version; new sessions get it."""
    found = await find_agent(cli.api, agent)
    body = {"note": note, **({"requireChecks": True} if require_checks else {})}
    version = (await cli.api.call("POST", f"/agents/{found['id']}/publish", body)).data
    if not no_wait:
        version = await _ready(cli, found["id"], version)
    if cli.out.as_json:
        cli.out.value(version)
    if version["state"] == "failed":
        raise CliError(f"version {version['number']} failed: {version['reason']}")
    cli.out.say(f"{found['slug']} version {version['number']} is {version['state']}")


async def _ready(cli: Cli, agent_id: str, version: dict[str, Any]) -> dict[str, Any]:
    run_id = version.get("checkRun")
    if run_id is not None and version["state"] == "preparing":
        run = await watch_run(cli, agent_id, run_id)
        if run["state"] == "failed":
            show_run(cli, run)
    async with cli.out.progress(f"version {version['number']} is being prepared"):
        while version["state"] == "preparing":
            await asyncio.sleep(POLL_S)
            version = (await cli.api.call("GET", f"/agents/{agent_id}/versions/{version['number']}")).data
    return version


@api_command(agents, "versions")
@click.argument("agent")
async def versions(cli: Cli, agent: str) -> None:
    """List an agent's versions, newest first."""
    found = await find_agent(cli.api, agent)
    rows = [row async for page in cli.api.pages(f"/agents/{found['id']}/versions") for row in page]
    if cli.out.as_json:
        cli.out.value(rows)
        return
    shown = (
        (
            row["number"],
            "current" if row["number"] == found["publishedVersion"] else row["state"],
            row["note"],
            row["createdAt"],
            row["createdBy"],
        )
        for row in rows
    )
    cli.out.table(("VERSION", "STATE", "NOTE", "CREATED", "BY"), shown)


@api_command(agents, "rollback")
@click.argument("agent")
@click.argument("version", type=click.IntRange(min=1))
async def rollback(cli: Cli, agent: str, version: int) -> None:
    """Send new sessions to an earlier (or later) version.

    Running sessions keep theirs.
    """
    found = await find_agent(cli.api, agent)
    data = (await cli.api.call("POST", f"/agents/{found['id']}/rollback", {"version": version})).data
    if cli.out.as_json:
        cli.out.value(data)
    cli.out.say(f"new sessions of {found['slug']} get version {data['number']}")
