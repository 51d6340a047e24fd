"""`parley webhooks …`: where events are sent, what became of them, and what is sent again."""

from typing import Any, Final

import click

from deploy.cli.commands import Cli, api_command
from shared.contracts.webhooks import EVENT_TYPES, MAX_GRACE_S

ID: Final = click.argument("webhook", metavar="ID")
EVENTS: Final = click.option(
    "--event", "events", multiple=True, type=click.Choice(EVENT_TYPES), help="A type of event to send; may be repeated."
)


@click.group("webhooks")
def webhooks() -> None:
    """Webhooks: create, list, change, test, rotate and delete them.

    They need a key with the scope webhooks:write.
    """


@api_command(webhooks, "create")
@click.argument("url")
@EVENTS
@click.option("--description", default="", help="What the endpoint is for.")
async def create(cli: Cli, *, url: str, events: tuple[str, ...], description: str) -> None:
    """Send events to URL. Without --event: events of every type.

    The signing secret is shown this once.
    """
    body = {"url": url, "events": list(events or EVENT_TYPES), "description": description}
    _show_secret(cli, (await cli.api.call("POST", "/webhooks", body)).data)


@api_command(webhooks, "list")
async def list_webhooks(cli: Cli) -> None:
    """List the webhooks."""
    rows = [row async for page in cli.api.pages("/webhooks") for row in page]
    if cli.out.as_json:
        return cli.out.value(rows)
    return cli.out.table(("ID", "URL", "EVENTS", "STATE"), [_line(row) for row in rows])


def _line(row: dict[str, Any]) -> tuple[object, ...]:
    events = "all" if len(row["events"]) == len(EVENT_TYPES) else ", ".join(row["events"])
    state = "on" if row["enabled"] else f"off: {row.get('disabledReason') or 'by hand'}"
    if row["enabled"] and row.get("failingSince"):
        state = f"fails since {row['failingSince']}"
    return (row["id"], row["url"], events, state)


@api_command(webhooks, "change")
@ID
@click.option("--endpoint", metavar="URL", help="Send to this address from now on.")
@EVENTS
@click.option("--enable/--disable", "enabled", default=None, help="Also brings back one that the server disabled.")
async def change(
    cli: Cli, webhook: str, *, endpoint: str | None, events: tuple[str, ...], enabled: bool | None
) -> None:
    """Change a webhook. What is not named stays as it is."""
    given = {"url": endpoint, "events": list(events) or None, "enabled": enabled}
    body = {name: value for name, value in given.items() if value is not None}
    if not body:
        raise click.UsageError("say what to change: --endpoint, --event, --enable or --disable")
    found = (await cli.api.call("PATCH", f"/webhooks/{webhook}", body)).data
    return cli.out.value(found) if cli.out.as_json else cli.out.say(f"{webhook} is changed")


@api_command(webhooks, "rotate")
@ID
@click.option(
    "--grace",
    type=click.IntRange(0, MAX_GRACE_S),
    default=86_400,
    show_default=True,
    help="Seconds that the old secret signs too.",
)
async def rotate(cli: Cli, webhook: str, *, grace: int) -> None:
    """Replace the signing secret, and show the new one this once.

    Within the grace, deliveries carry the signature of the old secret too.
    """
    _show_secret(cli, (await cli.api.call("POST", f"/webhooks/{webhook}/rotate-secret", {"graceS": grace})).data)


@api_command(webhooks, "test")
@ID
async def send_test(cli: Cli, webhook: str) -> None:
    """Send a webhook.test event.

    `parley webhooks deliveries` tells what the receiver answered.
    """
    found = (await cli.api.call("POST", f"/webhooks/{webhook}/test")).data
    return cli.out.value(found) if cli.out.as_json else cli.out.say(f"{found['id']} is on its way")


@api_command(webhooks, "deliveries")
@ID
@click.option("--state", type=click.Choice(["pending", "delivered", "dead"]), help="Only those in this state.")
@click.option("--limit", type=click.IntRange(1, 200), default=50, show_default=True, help="How many at most.")
async def deliveries(cli: Cli, webhook: str, *, state: str | None, limit: int) -> None:
    """List the newest deliveries."""
    query = f"?limit={limit}" + (f"&state={state}" if state else "")
    rows = (await cli.api.call("GET", f"/webhooks/{webhook}/deliveries{query}")).data
    if cli.out.as_json:
        return cli.out.value(rows)
    columns = ("ID", "TYPE", "STATE", "TRIES", "CREATED", "LAST ERROR")
    lines = [
        (row["id"], row["type"], row["state"], row["attempts"], row["createdAt"], row.get("error", "")) for row in rows
    ]
    return cli.out.table(columns, lines)


@api_command(webhooks, "replay")
@ID
@click.option("--event", "event_id", metavar="ID", help="Only this delivery, in whatever state it is.")
async def replay(cli: Cli, webhook: str, *, event_id: str | None) -> None:
    """Send failed deliveries again: all dead ones, or the one named."""
    one = f"/deliveries/{event_id}" if event_id else ""
    found = (await cli.api.call("POST", f"/webhooks/{webhook}{one}/replay")).data
    more = "; there are more: repeat the command" if found.get("more") else ""
    return cli.out.value(found) if cli.out.as_json else cli.out.say(f"{found['replayed']} sent again{more}")


@api_command(webhooks, "rm")
@ID
async def remove(cli: Cli, webhook: str) -> None:
    """Delete a webhook with its deliveries."""
    await cli.api.call("DELETE", f"/webhooks/{webhook}")
    cli.out.say(f"{webhook} is deleted")


def _show_secret(cli: Cli, found: dict[str, Any]) -> None:
    if cli.out.as_json:
        return cli.out.value(found)
    cli.out.say(f"{found['id']}: the signing secret, shown this once:")
    return cli.out.say(found["secret"])
