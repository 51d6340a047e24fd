"""`parley agents init|list|show|diff|apply|delete`: an agent as a reviewed file, and its draft."""

import re
from pathlib import Path
from typing import Any

import click
import yaml

from deploy.cli.agent_lookup import find_agent
from deploy.cli.agent_source import normal, read_source
from deploy.cli.apply import Apply
from deploy.cli.commands import Cli, api_command
from deploy.cli.config import Config
from deploy.cli.difference import differences, lines_of
from deploy.cli.exits import CliError, Exit
from deploy.cli.starter import starter_file

FILE = click.option(
    "-f", "--file", type=click.Path(path_type=Path), default=Path("agent.yaml"), show_default=True, help="The file."
)


@click.group("agents")
def agents() -> None:
    """Agents: write, compare, apply, publish and roll back."""


@agents.command("init")
@click.argument("name", default="My agent")
@click.option("--model", default="demo/extractive", show_default=True, help="The model's name at its server.")
@click.option("--upstream", default="default", show_default=True, help="The model server, as operators name it.")
@FILE
def init(name: str, model: str, upstream: str, file: Path) -> None:
    """Write an agent.yaml to start from."""
    target = Config.read().target(None, None)
    slug = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:48].strip("-") or "agent"
    try:
        with file.open("x", encoding="utf-8") as out:
            out.write(starter_file(name=name, slug=slug, model=model, upstream=upstream, api=target.api))
    except FileExistsError:
        raise CliError(f"{file} exists already: remove it, or name another file with -f", Exit.BAD_FILE) from None
    except OSError as error:
        raise CliError(f"{file}: {error.strerror}", Exit.BAD_FILE) from None
    click.echo(f"{file} is written. Next: parley agents apply -f {file}")


@api_command(agents, "list")
async def list_agents(cli: Cli) -> None:
    """List the workspace's agents, newest first."""
    found = [agent async for page in cli.api.pages("/agents") for agent in page]
    if cli.out.as_json:
        cli.out.value(found)
        return
    rows = ((a["slug"], a["name"], a["publishedVersion"] or "–", a["revision"], a["id"], a["updatedAt"]) for a in found)
    cli.out.table(("SLUG", "NAME", "PUBLISHED", "REVISION", "ID", "CHANGED"), rows)


@api_command(agents, "show")
@click.argument("agent")
@click.option("--yaml", "as_yaml", is_flag=True, help="As an agent.yaml.")
async def show(cli: Cli, agent: str, *, as_yaml: bool) -> None:
    """Show an agent and its draft. AGENT is a slug or an id."""
    found = await find_agent(cli.api, agent)
    if cli.out.as_json:
        cli.out.value(found)
    elif as_yaml:
        click.echo(as_file(found), nl=False)
    else:
        facts = ("id", "slug", "revision", "publishedVersion", "latestVersion", "createdAt", "updatedAt")
        cli.out.table(("", ""), ((name, found[name]) for name in facts))
        cli.out.say("\n" + as_file(found))


def as_file(agent: dict[str, Any]) -> str:
    """Only what differs from the defaults, as a person would write it."""
    draft = {"slug": agent["slug"], **_lean(agent["draft"])}
    return yaml.dump(draft, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100)


def _lean(draft: dict[str, Any]) -> dict[str, Any]:
    bare = normal({"name": draft["name"], "model": draft["model"]})
    return {name: value for name, value in draft.items() if name in ("name", "model") or value != bare.get(name)}


class _Dumper(yaml.SafeDumper):
    """Texts of several lines as blocks, and no anchors."""

    def ignore_aliases(self, _: Any) -> bool:
        return True


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Dumper.add_representer(str, _text)


@api_command(agents, "diff")
@click.argument("agent", required=False)
@click.argument("version", type=click.IntRange(min=1), required=False)
@click.option(
    "--against", type=click.IntRange(min=0), help="The other version; 0 is the draft. Default: the one before."
)
@click.option("--exit-code", is_flag=True, help="Exit with 1 if there are differences.")
@FILE
async def diff(
    cli: Cli, agent: str | None, version: int | None, against: int | None, *, exit_code: bool, file: Path
) -> None:
    """Compare a file with the draft, or two versions of AGENT.

    Without AGENT, the file is compared with its agent's draft. With AGENT and without VERSION,
    the draft is compared with the published version.
    """
    found = await (_file_diff(cli, file) if agent is None else _version_diff(cli, agent, version, against))
    if cli.out.as_json:
        cli.out.value(found)
    else:
        cli.out.changes(line for change in found for line in lines_of(_difference(change)))
        if not found:
            cli.out.say("no differences")
    if found and exit_code:
        raise click.exceptions.Exit(int(Exit.FAILED))


def _difference(change: dict[str, Any]) -> Any:
    from deploy.cli.difference import Difference

    return Difference(change["field"], change["before"], change["after"])


async def _file_diff(cli: Cli, file: Path) -> list[dict[str, Any]]:
    source = read_source(file)
    current = await find_agent(cli.api, source.slug)
    return [found._asdict() for found in differences(normal(current["draft"]), source.shown)]


async def _version_diff(cli: Cli, agent: str, version: int | None, against: int | None) -> list[dict[str, Any]]:
    found = await find_agent(cli.api, agent)
    if version is None:
        published = found["publishedVersion"]
        if published is None:
            raise CliError(f"{found['slug']} has no published version to compare the draft with", Exit.NOT_FOUND)
        before = (await cli.api.call("GET", f"/agents/{found['id']}/versions/{published}")).data["config"]
        return [change._asdict() for change in differences(normal(before), normal(found["draft"]))]
    query = f"?against={version - 1 if against is None else against}"
    reply = await cli.api.call("GET", f"/agents/{found['id']}/versions/{version}/diff{query}")
    return list(reply.data)


@api_command(agents, "apply")
@FILE
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@click.option("--overwrite", is_flag=True, help="Also over changes that others made on the server.")
@click.option("--dry-run", is_flag=True, help="Show the plan and stop.")
async def apply(cli: Cli, *, file: Path, yes: bool, overwrite: bool, dry_run: bool) -> None:
    """Make the draft on the server what the file says.

    The plan is shown first.
    """
    source = read_source(file)
    result = await Apply(cli, source).run(yes=yes, overwrite=overwrite, dry_run=dry_run)
    if cli.out.as_json:
        cli.out.value(result)


@api_command(agents, "delete")
@click.argument("agent")
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
async def delete(cli: Cli, agent: str, *, yes: bool) -> None:
    """Delete an agent with its knowledge; its sessions end."""
    found = await find_agent(cli.api, agent)
    if not yes:
        click.confirm(f"Delete {found['slug']} with its knowledge and end its sessions?", abort=True)
    data = (await cli.api.call("DELETE", f"/agents/{found['id']}")).data
    if cli.out.as_json:
        cli.out.value(data)
    cli.out.say(f"{found['slug']} is deleted")
