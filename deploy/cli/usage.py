"""`parley usage` and `parley budgets`: what was used, and how much may be."""

from typing import Any
from urllib.parse import quote, urlencode

import click

from deploy.cli.commands import Cli, api_command
from deploy.cli.exits import CliError, Exit
from shared.contracts.budgets import subject_of
from shared.contracts.usage import GROUPINGS

DAY = click.DateTime(formats=["%Y-%m-%d"])


def register(root: click.Group) -> None:
    """Adds the commands to `parley`."""
    root.add_command(budgets)

    @api_command(root, "usage")
    @click.option("--by", type=click.Choice(GROUPINGS), default="day", show_default=True, help="What the sums are of.")
    @click.option("--from", "first", type=DAY, help="The first day (UTC). Default: 30 days up to --to.")
    @click.option("--to", "last", type=DAY, help="The last day (UTC). Default: today.")
    @click.option("--agent", help="Of this agent's id only.")
    @click.option("--key", help="Of this key's id only.")
    @click.option("--end-user", help="Of this end user only.")
    async def usage(cli: Cli, *, by: str, first: Any, last: Any, **of: str | None) -> None:
        """Sum tokens and cost of ended turns."""
        days = {name: day.date().isoformat() for name, day in (("from", first), ("to", last)) if day is not None}
        given = {"agentId": of["agent"], "keyId": of["key"], "endUser": of["end_user"]}
        query = {"groupBy": by, **days, **{name: text for name, text in given.items() if text is not None}}
        rows = [row async for page in cli.api.pages(f"/usage?{urlencode(query)}") for row in page]
        if cli.out.as_json:
            return cli.out.value(rows)
        columns = (by, "turns", "prompt", "answer", "cached", "cost", "no price")
        return cli.out.table(columns, list(map(_usage_line, rows)))


def _usage_line(row: dict[str, Any]) -> tuple[object, ...]:
    cost = "unknown" if row["cost"] is None else f"{row['cost']:.6f} {row['currency']}"
    tokens = (row["promptTokens"], row["completionTokens"], row["cachedTokens"])
    return (row["group"] or "-", row["turns"], *tokens, cost, row["unpricedTokens"] or "")


@click.group("budgets")
def budgets() -> None:
    """List, set and remove budgets.

    SUBJECT is workspace, agent:ID, key:ID or endUser:ID.
    """


def subject(_: click.Context, __: click.Parameter, text: str) -> str:
    if subject_of(text) is None:
        raise click.BadParameter("a subject is workspace, agent:ID, key:ID or endUser:ID")
    return text


@api_command(budgets, "list")
async def list_budgets(cli: Cli) -> None:
    """List all budgets with what is used of them."""
    rows = [row async for page in cli.api.pages("/budgets") for row in page]
    if cli.out.as_json:
        return cli.out.value(rows)
    lines = [(row, kind) for row in rows for kind in ("day", "month") if row.get(kind)]
    columns = ("subject", "period", "tokens", "of", "cost", "of", "")
    return cli.out.table(columns, [_budget_line(row, kind) for row, kind in lines])


def _budget_line(row: dict[str, Any], kind: str) -> tuple[object, ...]:
    use = row[kind]
    state = "used up" if use["exceeded"] else ""
    return (row["subject"], kind, use["usedTokens"], use.get("tokens"), use["usedCost"], use.get("cost"), state)


@api_command(budgets, "set")
@click.argument("whose", metavar="SUBJECT", callback=subject)
@click.option("--daily-tokens", type=click.IntRange(min=0), help="Prompts and answers together, per day (UTC).")
@click.option("--daily-cost", type=click.FloatRange(min=0), help="In the price table's currency, per day (UTC).")
@click.option("--monthly-tokens", type=click.IntRange(min=0), help="Prompts and answers together, per month (UTC).")
@click.option("--monthly-cost", type=click.FloatRange(min=0), help="In the price table's currency, per month (UTC).")
async def set_budget(cli: Cli, whose: str, **limits: float | None) -> None:
    """Replace the budget of SUBJECT. A limit that is left out is none."""
    kinds = {"day": "daily", "month": "monthly"}
    body = {
        kind: {unit: limits[f"{name}_{unit}"] for unit in ("tokens", "cost") if limits[f"{name}_{unit}"] is not None}
        for kind, name in kinds.items()
    }
    body = {kind: each for kind, each in body.items() if each}
    if not body:
        raise CliError("give at least one limit", Exit.USAGE)
    found = (await cli.api.call("PUT", _path(whose), body)).data
    if cli.out.as_json:
        return cli.out.value(found)
    return cli.out.say(f"the budget of {found['subject']} is set")


@api_command(budgets, "rm")
@click.argument("whose", metavar="SUBJECT", callback=subject)
async def remove_budget(cli: Cli, whose: str) -> None:
    """Remove the budget of SUBJECT."""
    await cli.api.call("DELETE", _path(whose))
    cli.out.say(f"{whose} has no budget any more")


def _path(whose: str) -> str:
    return f"/budgets/{quote(whose, safe='')}"
