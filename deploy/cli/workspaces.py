"""`parley workspaces …`: tenants, for operators. Like `parley admin`, it calls history's internal API."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

import click

from deploy.cli.admin import with_history, workspace_name
from deploy.cli.exits import CliError
from shared.contracts.keys import SECRET_SCOPES, NewKey
from shared.contracts.workspaces import ChangeWorkspace, Workspace
from shared.history_client import HistoryClient

POLL_S: Final = 0.5
MAX_DAYS: Final = 36_500


@click.group("workspaces")
@click.option("--local", type=click.Path(path_type=Path), metavar="DIR", help="Data directory of a running `make up`.")
@click.pass_context
def workspaces(context: click.Context, local: Path | None) -> None:
    """For operators: create, list, limit and delete workspaces.

    These commands call history's internal API: they read PARLEY_HISTORY_URL and PARLEY_INTERNAL_TOKEN, or --local.
    """
    context.obj = local


@workspaces.command("create")
@click.argument("workspace", callback=workspace_name)
@click.option("--no-key", is_flag=True, help="Do not make a first key.")
@click.pass_obj
def create(local: Path | None, workspace: str, *, no_key: bool) -> None:
    """Create WORKSPACE and write its first key.

    The key has all scopes. Its secret is shown this once.
    """

    async def run(history: HistoryClient) -> str | None:
        await history.create_workspace(workspace)
        if no_key:
            return None
        key = NewKey(workspace=workspace, name="first key", scopes=SECRET_SCOPES)
        return (await history.create_key(key)).secret

    secret = with_history(local, run)
    click.echo(f"the workspace {workspace} exists", err=True)
    if secret is not None:
        click.echo(secret)


@workspaces.command("list")
@click.pass_obj
def list_workspaces(local: Path | None) -> None:
    """List all workspaces by name.

    A deleted one is listed with the time when its erasure was complete.
    """

    async def run(history: HistoryClient) -> list[Workspace]:
        return [workspace async for workspace in _all(history)]

    for workspace in with_history(local, run):
        receipt = f"  erased at {workspace.receipt.completed_at.isoformat()}" if workspace.receipt else ""
        click.echo(f"{workspace.name}  {workspace.status}{receipt}")


async def _all(history: HistoryClient) -> AsyncIterator[Workspace]:
    query = {"limit": "200"}
    while True:
        page = await history.workspaces(query)
        for row in page["items"]:
            yield Workspace.model_validate(row)
        if page["nextCursor"] is None:
            return
        query["cursor"] = page["nextCursor"]


@workspaces.command("retention")
@click.argument("workspace", callback=workspace_name)
@click.argument("days", metavar="DAYS|none")
@click.pass_obj
def retention(local: Path | None, workspace: str, days: str) -> None:
    """Set after how many days WORKSPACE erases transcripts.

    DAYS count from a session's last message; `none` keeps its transcript. An agent's own `retention` may be
    shorter. What was used stays counted.
    """
    if days != "none" and not (days.isascii() and days.isdecimal() and 1 <= int(days) <= MAX_DAYS):
        raise click.BadParameter(f"DAYS is a number from 1 to {MAX_DAYS}, or none")
    change = ChangeWorkspace(transcript_days=None if days == "none" else int(days))
    found: Workspace = with_history(local, lambda history: history.change_workspace(workspace, change))
    kept = "for good" if found.transcript_days is None else f"for {found.transcript_days} days"
    click.echo(f"{workspace} keeps transcripts {kept}")


@workspaces.command("delete")
@click.argument("workspace", callback=workspace_name)
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@click.pass_obj
def delete(local: Path | None, workspace: str, *, yes: bool) -> None:
    """Erase WORKSPACE and all that belongs to it.

    The receipt is written when all is erased. Its keys stop working at once. The erasure goes on without
    this command; run it again to wait for the receipt.
    """
    if not yes and click.prompt("This cannot be undone. Type the workspace's name") != workspace:
        raise CliError("that is another name: nothing was deleted")

    async def run(history: HistoryClient) -> Workspace:
        found = await history.delete_workspace(workspace)
        while found.receipt is None:
            await asyncio.sleep(POLL_S)
            found = await history.workspace(workspace)
        return found

    receipt = with_history(local, run).receipt
    click.echo(f"{workspace} is deleted: asked for {receipt.requested_at.isoformat()}, ", nl=False)
    click.echo(f"erased {receipt.completed_at.isoformat()}")
    for collection, count in sorted(receipt.erased.items()):
        click.echo(f"  {collection}  {count}")
