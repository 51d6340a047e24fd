"""`parley agents check`: runs an agent's checks and waits for them with a progress bar."""

import asyncio
import uuid
from typing import Any, Final

import click

from deploy.cli.agent_lookup import find_agent
from deploy.cli.agents import agents
from deploy.cli.commands import Cli, api_command
from deploy.cli.exits import CliError

POLL_S: Final = 0.5


@api_command(agents, "check")
@click.argument("agent")
@click.option("--version", "number", type=click.IntRange(min=1), help="Check this version. Default: the draft.")
async def check(cli: Cli, agent: str, *, number: int | None) -> None:
    """Run the agent's checks. Exits with 1 if one fails."""
    found = await find_agent(cli.api, agent)
    body = {"draft": True} if number is None else {"version": number}
    key = {"Idempotency-Key": uuid.uuid4().hex}
    begun = (await cli.api.call("POST", f"/agents/{found['id']}/checks/run", body, key)).data
    run = await watch_run(cli, found["id"], begun["id"])
    if cli.out.as_json:
        cli.out.value(run)
    else:
        show_run(cli, run)
    if run["state"] == "failed":
        raise CliError(f"{run['failed']} of {run['total']} checks failed")


async def watch_run(cli: Cli, agent_id: str, run_id: str) -> dict[str, Any]:
    """The run once it has ended. The server bounds how long that takes."""
    path = f"/agents/{agent_id}/checks/runs/{run_id}"
    run: dict[str, Any] = (await cli.api.call("GET", path)).data
    ended = 0
    async with cli.out.progress("checks", run["total"]) as bar:
        while run["state"] == "running":
            await asyncio.sleep(POLL_S)
            run = (await cli.api.call("GET", path)).data
            bar.advance(run["passed"] + run["failed"] - ended)
            ended = run["passed"] + run["failed"]
    return run


def show_run(cli: Cli, run: dict[str, Any]) -> None:
    """Each check with its state, and what failed with the answer that it got."""
    if not run["total"]:
        cli.out.say("this agent has no checks: write them in agent.yaml and apply it")
    for result in run["results"] or ():
        sign = "+" if result["state"] == "passed" else "-"
        before = result.get("before")
        changed = f" (before: {before})" if before and before != result["state"] else ""
        cli.out.changes([f"{sign} {result['state']}  {result['name']}{changed}"])
        for failure in result["failures"]:
            kind = f"{failure['expectation']}: " if failure.get("expectation") else ""
            cli.out.say(f"    step {failure['step']}: {kind}{failure['message']}")
        if result["failures"] and result["steps"]:
            cli.out.say(f"    answer: {result['steps'][-1]['answer']}")
