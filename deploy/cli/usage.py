"""`parley usage` and `parley budgets`: what was used, and how much may be."""

from typing import Any
from urllib.parse import quote, urlencode

import click

from deploy.cli.commands import Cli, api_command
from shared.contracts.budgets import subject_of
from shared.contracts.usage import GROUPINGS

DAY = click.DateTime(formats=["%Y-%m-%d"])
WRITTEN = "YYYY-MM-DD"


def register(root: click.Group) -> None:
    """Adds the commands to `parley`."""
    root.add_command(budgets)

    @api_command(root, "usage")
    @click.option("--by", type=click.Choice(GROUPINGS), default="day", show_default=True, help="What the sums are of.")
    @click.option(
        "--from", "first", type=DAY, metavar=WRITTEN, help="The first day (UTC). Default: 30 days up to --to."
    )
    @click.option("--to", "last", type=DAY, metavar=WRITTEN, help="The last day (UTC). Default: today.")
    @click.option("--agent", metavar="ID", help="Only this agent's.")
    @click.option("--key", metavar="ID", help="Only what this key used.")
    @click.option("--end-user", metavar="ID", help="Only this end user's.")
    async def usage(cli: Cli, *, by: str, first: Any, last: Any, **of: str | None) -> None:
        """Show what was used: turns, tokens and cost, by day or otherwise.

        Cost needs a price table (PARLEY_PRICES_FILE). WITHOUT A PRICE counts the tokens that it does not cover.
        """
        days = {name: day.date().isoformat() for name, day in (("from", first), ("to", last)) if day is not None}
        given = {"agentId": of["agent"], "keyId": of["key"], "endUser": of["end_user"]}
        query = {"groupBy": by, **days, **{name: text for name, text in given.items() if text is not None}}
        rows = [row async for page in cli.api.pages(f"/usage?{urlencode(query)}") for row in page]
        if cli.out.as_json:
            return cli.out.value(rows)
        columns = (by.upper(), "TURNS", "PROMPT", "ANSWER", "CACHED", "COST", "WITHOUT A PRICE")
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
        raise click.BadParameter("write workspace, agent:ID, key:ID or endUser:ID")
    return text


@api_command(budgets, "list")
async def list_budgets(cli: Cli) -> None:
    """List all budgets with what is used of them."""
    rows = [row async for page in cli.api.pages("/budgets") for row in page]
    if cli.out.as_json:
        return cli.out.value(rows)
    lines = [(row, kind) for row in rows for kind in ("day", "month") if row.get(kind)]
    columns = ("SUBJECT", "PERIOD", "TOKENS", "LIMIT", "COST", "LIMIT", "STATE")
    return cli.out.table(columns, [_budget_line(row, kind) for row, kind in lines])


def _budget_line(row: dict[str, Any], kind: str) -> tuple[object, ...]:
    use = row[kind]
    state = "used up" if use["exceeded"] else "ok"
    tokens, cost = ("-" if use.get(unit) is None else use[unit] for unit in ("tokens", "cost"))
    return (row["subject"], kind, use["usedTokens"], tokens, use["usedCost"], cost, state)


@api_command(budgets, "set")
@click.argument("whose", metavar="SUBJECT", callback=subject)
@click.option("--daily-tokens", type=click.IntRange(min=0), help="Prompts and answers together, per day (UTC).")
@click.option("--daily-cost", type=click.FloatRange(min=0), help="In the price table's currency, per day (UTC).")
@click.option("--monthly-tokens", type=click.IntRange(min=0), help="Prompts and answers together, per month (UTC).")
@click.option("--monthly-cost", type=click.FloatRange(min=0), help="In the price table's currency, per month (UTC).")
async def set_budget(cli: Cli, whose: str, **limits: float | None) -> None:
    """Replace the budget of SUBJECT. What is left out is not limited."""
    kinds = {"day": "daily", "month": "monthly"}
    body = {
        kind: {unit: limits[f"{name}_{unit}"] for unit in ("tokens", "cost") if limits[f"{name}_{unit}"] is not None}
        for kind, name in kinds.items()
    }
    body = {kind: each for kind, each in body.items() if each}
    if not body:
        raise click.UsageError("give at least one limit, such as --daily-tokens; `parley budgets rm` removes a budget")
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
