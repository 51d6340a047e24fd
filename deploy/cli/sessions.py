"""`parley sessions …`: conversations, listed, read, exported and erased."""

import sys
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import ExitStack, aclosing
from datetime import datetime
from pathlib import Path
from typing import Any, Final, TextIO
from urllib.parse import urlencode

import click
import orjson

from deploy.cli.agent_lookup import find_agent
from deploy.cli.commands import Cli, api_command
from deploy.cli.exits import CliError, Exit
from deploy.cli.session_export import exported
from shared.ids import is_id

# Filters that servers of this version know beside `agentId` and `status`.
LATER_FILTERS: Final = ("q", "agentVersion", "endUser", "createdFrom", "createdBefore", "metadata")


def moment(_: click.Context, __: click.Parameter, text: str | None) -> str | None:
    """A day stands for its beginning in UTC."""
    if text is None:
        return None
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        found = None
    if found is not None and len(text) == len("2026-01-31"):
        return f"{found.date().isoformat()}T00:00:00Z"
    if found is None or found.tzinfo is None:
        raise click.BadParameter("write a day (2026-01-31, in UTC) or a time with its offset (2026-01-31T09:00:00Z)")
    return text


def filters(command: Callable[..., Awaitable[None]]) -> Callable[..., Awaitable[None]]:
    """The options that choose sessions; the command gets them as one tuple of arguments."""
    for option in (
        click.option("--until", metavar="TIME", callback=moment, help="Created before this day or time."),
        click.option(
            "--since",
            metavar="TIME",
            callback=moment,
            help="Created on this day or later, as 2026-01-31, or at this time, as 2026-01-31T09:00:00Z.",
        ),
        click.option("--metadata", "labels", multiple=True, metavar="KEY=VALUE", help="With this; may be repeated."),
        click.option("--end-user", help="Only this end user's, by id."),
        click.option("--version", type=click.IntRange(min=0), help="Only this version's; 0 is the draft."),
        click.option("--status", type=click.Choice(["active", "ended"]), help="Only these."),
        click.option("--agent", help="Only this agent's: a slug or an id."),
        click.option("--search", metavar="WORDS", help="With a turn that has all of these words."),
    ):
        command = option(command)
    return command


@click.group("sessions")
def sessions() -> None:
    """Sessions: list, show, export and erase."""


@api_command(sessions, "list")
@filters
@click.option("--limit", type=click.IntRange(1), default=50, show_default=True, help="How many at most.")
async def list_sessions(cli: Cli, *, limit: int, **chosen: Any) -> None:
    """List sessions, newest first."""
    found: list[dict[str, Any]] = []
    async for session in _sessions(cli, await _query(cli, **chosen)):
        found.append(session)
        if len(found) == limit:
            break
    if cli.out.as_json:
        cli.out.value(found)
        return
    rows = ((s["id"], s["agentId"], s["agentVersion"], s["status"], s["turnCount"], s["createdAt"]) for s in found)
    cli.out.table(("ID", "AGENT", "VERSION", "STATUS", "TURNS", "CREATED"), rows)


@api_command(sessions, "show")
@click.argument("session")
async def show(cli: Cli, session: str) -> None:
    """Show a session and its messages."""
    document = await _document(cli, session)
    if cli.out.as_json:
        cli.out.value(document)
        return
    facts = ("id", "agentId", "agentVersion", "status", "endedReason", "turnCount", "metadata", "createdAt", "endedAt")
    cli.out.table(("", ""), ((name, document["session"].get(name)) for name in facts))
    cli.out.say("\n" + as_text(document["messages"]))


@api_command(sessions, "export")
@click.argument("session", required=False)
@filters
@click.option(
    "--format",
    "form",
    type=click.Choice(["ndjson", "text"]),
    default="ndjson",
    show_default=True,
    help="What is written.",
)
@click.option("-o", "--output", type=click.Path(path_type=Path, dir_okay=False), help="A file; else standard output.")
async def export(cli: Cli, session: str | None, *, form: str, output: Path | None, **chosen: Any) -> None:
    """Write SESSION, or all that match, with their messages.

    Sessions come oldest first. In ndjson each line is one session: {"session": …, "messages": […]}.
    """
    count, query = 0, await _query(cli, **chosen)
    with ExitStack() as files:
        out: TextIO = files.enter_context(output.open("w", encoding="utf-8")) if output else sys.stdout
        async with cli.out.progress("exporting sessions") as bar:
            documents = _one(cli, session) if session else exported(cli.api, query)
            async with aclosing(documents):
                async for document in documents:
                    out.write(_rendered(document, form))
                    count += 1
                    bar.advance()
    if output is not None:
        cli.out.note(f"{count} session{'' if count == 1 else 's'} written to {output}")


@api_command(sessions, "rm")
@click.argument("chosen", metavar="SESSION...", nargs=-1, required=True)
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
async def remove(cli: Cli, *, chosen: tuple[str, ...], yes: bool) -> None:
    """Erase sessions with their transcripts. A turn that runs is cancelled."""
    for session in chosen:
        _check_id(session)
    if not yes:
        click.confirm(f"Erase {len(chosen)} session{'' if len(chosen) == 1 else 's'} for good?", abort=True)
    for session in chosen:
        await cli.api.call("DELETE", f"/chat/sessions/{session}")
        cli.out.say(f"{session} is erased")
    if cli.out.as_json:
        cli.out.value([{"id": session, "deleted": True} for session in chosen])


async def _one(cli: Cli, session: str) -> AsyncGenerator[dict[str, Any], None]:
    yield await _document(cli, session)


async def _query(
    cli: Cli,
    *,
    search: str | None,
    agent: str | None,
    status: str | None,
    version: int | None,
    end_user: str | None,
    labels: tuple[str, ...],
    since: str | None,
    until: str | None,
) -> list[tuple[str, str]]:
    """The list's parameters. Raises CliError if the server would pass one over."""
    agent_id = None
    if agent is not None:
        agent_id = agent if is_id("agt", agent) else (await find_agent(cli.api, agent))["id"]
    given = {
        "q": search,
        "agentId": agent_id,
        "status": status,
        "agentVersion": version,
        "endUser": end_user,
        "createdFrom": since,
        "createdBefore": until,
    }
    query = [(name, str(value)) for name, value in given.items() if value is not None]
    for label in labels:
        key, equals, value = label.partition("=")
        if not equals:
            raise CliError(f"{label} is not KEY=VALUE", Exit.USAGE)
        query.append((f"metadata[{key}]", value))
    later = {name.partition("[")[0] for name, _ in query} & set(LATER_FILTERS)
    if later and not later <= await cli.api.parameters("/chat/sessions"):
        message = f"{cli.api.target.url} cannot filter by {', '.join(sorted(later))}: use the same version as parley"
        raise CliError(message, Exit.OTHER_VERSION)
    return query


async def _sessions(cli: Cli, query: list[tuple[str, str]]) -> AsyncIterator[dict[str, Any]]:
    async for page in cli.api.pages("/chat/sessions" + (f"?{urlencode(query)}" if query else "")):
        for session in page:
            yield session


async def _document(cli: Cli, session: str) -> dict[str, Any]:
    _check_id(session)
    found = (await cli.api.call("GET", f"/chat/sessions/{session}")).data
    messages = [message async for page in cli.api.pages(f"/chat/sessions/{session}/messages") for message in page]
    return {"session": found, "messages": messages}


def _check_id(session: str) -> None:
    if not is_id("ses", session):
        raise CliError(f"{session} is not the id of a session", Exit.NOT_FOUND)


def _rendered(document: dict[str, Any], form: str) -> str:
    if form == "text":
        head = f"# {document['session']['id']}, {document['session']['createdAt']}\n\n"
        return head + as_text(document["messages"]) + "\n"
    return orjson.dumps(document).decode() + "\n"


def as_text(messages: list[dict[str, Any]]) -> str:
    """A transcript for people: who said it, then the text; calls of tools by name."""
    parts = []
    for message in messages:
        calls = ", ".join(f"{call['name']} {call['arguments']}" for call in message.get("toolCalls") or ())
        text = message.get("content") or ""
        lines = [text] if text else []
        if calls:
            lines.append(f"(calls {calls})")
        parts.append(f"{message['role']}: " + "\n".join(lines) + "\n")
    return "\n".join(parts)
