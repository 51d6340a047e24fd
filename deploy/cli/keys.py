"""`parley keys …`: keys of servers, and with --agent keys of an agent's pages.

A secret is written to standard output once, by the command that makes it. It is never an argument, so that no shell
remembers it.
"""

from datetime import UTC, datetime, timedelta
from typing import Any, Final

import click

from deploy.cli.agent_lookup import find_agent
from deploy.cli.commands import Cli, api_command
from shared.contracts.key_records import MAX_RPM, MAX_TURNS
from shared.contracts.keys import MAX_WEIGHT, SECRET_SCOPES
from shared.ids import is_id

SCOPES: Final = sorted(scope.value for scope in SECRET_SCOPES)
AGENT = click.option("--agent", metavar="AGENT", help="A publishable key of this agent: a slug or an id.")
LABEL = click.option("--label", default="", help="What the key is for.")


@click.group("keys")
def keys() -> None:
    """Keys: create, list, change, rotate and revoke.

    They need a key with the scope keys:write.
    """


@api_command(keys, "create")
@LABEL
@click.option(
    "--scope", "scopes", multiple=True, type=click.Choice(SCOPES), help="What a secret key may do; may be repeated."
)
@click.option(
    "--environment",
    type=click.Choice(["live", "test"]),
    default="live",
    show_default=True,
    help="It is part of the secret.",
)
@click.option("--days", type=click.IntRange(1), help="The key expires after so many days.")
@click.option(
    "--weight",
    type=click.IntRange(1, MAX_WEIGHT),
    default=1,
    show_default=True,
    help="Turns that the key gets each time when the keys with waiting turns are served in turn.",
)
@click.option("--rpm", type=click.IntRange(1, MAX_RPM), help="Requests per minute; default: the gateway's limit.")
@click.option("--turns", type=click.IntRange(1, MAX_TURNS), help="Turns at once; default: the gateway's limit.")
@AGENT
@click.option(
    "--origin",
    "origins",
    multiple=True,
    help="With --agent: a site whose pages may use the key, as https://shop.example; may be repeated.",
)
async def create(
    cli: Cli,
    *,
    label: str,
    scopes: tuple[str, ...],
    environment: str,
    days: int | None,
    weight: int,
    rpm: int | None,
    turns: int | None,
    agent: str | None,
    origins: tuple[str, ...],
) -> None:
    """Make a key and write its secret, which is shown this once.

    A secret key needs --scope, and gets no scope that your own key lacks. A publishable key, for pages and apps, needs
    --agent and --origin.
    """
    if (agent is None) != bool(scopes) or (agent is None) == bool(origins):
        raise click.UsageError(
            "a secret key needs --scope and no --origin; a publishable key needs --agent and --origin"
        )
    body: dict[str, Any] = {"label": label, "environment": environment}
    if weight != 1:
        body["weight"] = weight
    body |= {"scopes": list(scopes)} if agent is None else {"allowedOrigins": list(origins)}
    body |= {} if rpm is None else {"rateLimitRpm": rpm}
    body |= {} if turns is None else {"maxConcurrentTurns": turns}
    if days is not None:
        body["expiresAt"] = _in_days(days)
    _show(cli, (await cli.api.call("POST", await _path(cli, agent), body)).data)


@api_command(keys, "list")
@AGENT
async def list_keys(cli: Cli, *, agent: str | None) -> None:
    """List keys that are not revoked, newest first."""
    found = [key async for page in cli.api.pages(await _path(cli, agent)) for key in page]
    if cli.out.as_json:
        cli.out.value(found)
        return
    rows = (
        (k["id"], k["label"], k["environment"], k["lastUsedAt"] or "never", k["expiresAt"] or "never", _opens(k))
        for k in found
    )
    cli.out.table(("ID", "LABEL", "ENVIRONMENT", "LAST USED", "EXPIRES", "SITES" if agent else "SCOPES"), rows)


@api_command(keys, "change")
@click.argument("key")
@click.option("--label", help="What the key is for.")
@click.option("--days", type=click.IntRange(1), help="The key expires so many days from now.")
@click.option("--no-expiry", is_flag=True, help="The key does not expire any more.")
@click.option("--weight", type=click.IntRange(1, MAX_WEIGHT), help="Turns that the key gets each time.")
@click.option("--rpm", type=click.IntRange(0, MAX_RPM), help="Requests per minute; 0: the gateway's limit.")
@click.option("--turns", type=click.IntRange(0, MAX_TURNS), help="Turns at once; 0: the gateway's limit.")
@click.option(
    "--origin",
    "origins",
    multiple=True,
    help="With --agent: a site that may use the key, in place of those before; may be repeated.",
)
@AGENT
async def change(
    cli: Cli,
    *,
    key: str,
    label: str | None,
    days: int | None,
    no_expiry: bool,
    weight: int | None,
    rpm: int | None,
    turns: int | None,
    origins: tuple[str, ...],
    agent: str | None,
) -> None:
    """Change KEY (an id). What is not named stays as it is.

    A key's scopes cannot be changed: make another key.
    """
    if days is not None and no_expiry:
        raise click.UsageError("--days and --no-expiry exclude each other")
    if origins and agent is None:
        raise click.UsageError("only a publishable key has origins: name its agent with --agent")
    given = {"label": label, "weight": weight, "rateLimitRpm": rpm, "maxConcurrentTurns": turns}
    body: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    for limit in ("rateLimitRpm", "maxConcurrentTurns"):
        if body.get(limit) == 0:
            body[limit] = None
    if origins:
        body["allowedOrigins"] = list(origins)
    if days is not None or no_expiry:
        body["expiresAt"] = None if days is None else _in_days(days)
    if not body:
        raise click.UsageError("name what is to change, such as --label or --weight")
    reply = await cli.api.call("PATCH", f"{await _path(cli, agent)}/{_key_id(key)}", body)
    if cli.out.as_json:
        cli.out.value(reply.data)
    cli.out.say(f"{key} is changed")


@api_command(keys, "rotate")
@click.argument("key")
@click.option("--grace", type=click.IntRange(0), default=86_400, show_default=True, help="Seconds for the old secret.")
@AGENT
async def rotate(cli: Cli, *, key: str, grace: int, agent: str | None) -> None:
    """Replace the secret of KEY (an id).

    The new one is written, and shown this once. The old one works for --grace seconds more.
    """
    path = f"{await _path(cli, agent)}/{_key_id(key)}/rotate"
    _show(cli, (await cli.api.call("POST", path, {"graceS": grace})).data)


@api_command(keys, "revoke")
@click.argument("key")
@AGENT
async def revoke(cli: Cli, *, key: str, agent: str | None) -> None:
    """End KEY (an id), on every gateway within a second."""
    reply = await cli.api.call("DELETE", f"{await _path(cli, agent)}/{_key_id(key)}")
    if cli.out.as_json:
        cli.out.value(reply.data)
    cli.out.say(f"{key} is revoked")


async def _path(cli: Cli, agent: str | None) -> str:
    if agent is None:
        return "/keys"
    # Only a slug needs to be looked up, which takes the scope agents:read.
    agent_id = agent if is_id("agt", agent) else (await find_agent(cli.api, agent))["id"]
    return f"/agents/{agent_id}/publishable-keys"


def _in_days(days: int) -> str:
    return (datetime.now(UTC) + timedelta(days=days)).isoformat()


def _key_id(text: str) -> str:
    """Whoever gives the secret instead of the id learns it before the secret is sent in a URL."""
    if not is_id("key", text):
        raise click.UsageError("KEY is the id of a key, key_ and 26 characters, as `parley keys list` shows it")
    return text


def _show(cli: Cli, key: dict[str, Any]) -> None:
    if cli.out.as_json:
        cli.out.value(key)
        return
    cli.out.note(f"{key['id']}: keep the secret, it is not shown again")
    click.echo(key["secret"])


def _opens(key: dict[str, Any]) -> str:
    return " ".join(key.get("scopes") or key.get("allowedOrigins") or ())
