"""`parley knowledge …`: the documents that an agent answers from."""

import asyncio
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, Final

import aiohttp
import click

from deploy.cli.agent_lookup import find_agent
from deploy.cli.commands import Cli, api_command
from deploy.cli.exits import CliError, Exit

POLL_S: Final = 0.5
SUFFIXES: Final = frozenset(".md .markdown .txt .html .htm .pdf .docx .xlsx .csv".split())
# Of a passage, in the table of a preview.
PREVIEW_CHARS: Final = 100
ENDED: Final = frozenset({"indexed", "failed"})


@click.group("knowledge")
def knowledge() -> None:
    """Knowledge: add, list and remove an agent's sources."""


@api_command(knowledge, "add")
@click.argument("agent")
@click.argument("what", nargs=-1, required=True, metavar="FILE|DIR|URL...")
@click.option("--tag", "tags", multiple=True, help="A label of these sources; may be repeated.")
@click.option("--sitemap", is_flag=True, help="The URLs are sitemaps: all pages that they name are read.")
@click.option("--refresh-hours", type=click.IntRange(1, 8760), help="Read the URLs again after so many hours.")
@click.option("--no-wait", is_flag=True, help="Do not wait until the sources are read.")
async def add(
    cli: Cli,
    agent: str,
    what: tuple[str, ...],
    *,
    tags: tuple[str, ...],
    sitemap: bool,
    refresh_hours: int | None,
    no_wait: bool,
) -> None:
    """Add files, folders or URLs as sources.

    Of a folder, all files that can be read are added. What the agent has already is passed over, so the command may be
    repeated after it was cut off. The next published version answers from the sources.
    """
    bodies = list(_bodies(what, tags, "sitemap" if sitemap else "url", refresh_hours))
    path = f"/agents/{(await find_agent(cli.api, agent))['id']}/knowledge/sources"
    known = {source["id"] async for page in cli.api.pages(path) for source in page}
    added: dict[str, dict[str, Any]] = {}
    async with cli.out.progress("adding sources", len(bodies)) as bar:
        for name, body in bodies:
            try:
                source = (await cli.api.call("POST", path, body)).data
            except CliError as error:
                raise CliError(f"{name}: {error.message}", error.exit) from None
            added[source["id"]] = source
            bar.advance()
    if not no_wait:
        await _read(cli, path, added)
    _tell(cli, added, known)
    if added.keys() - known:
        cli.out.say(f"Next: parley agents publish {agent}. New sessions then answer from it.")


def _bodies(
    what: Iterable[str], tags: tuple[str, ...], kind: str, refresh_hours: int | None
) -> Iterator[tuple[str, Any]]:
    """What each source is called, and the body that adds it. Raises CliError for what is not there."""
    for text in what:
        if text.startswith(("http://", "https://")):
            schedule = {} if refresh_hours is None else {"refreshHours": refresh_hours}
            yield text, {"kind": kind, "url": text, "tags": list(tags), **schedule}
            continue
        files = _files(Path(text))
        if not files:
            raise CliError(f"{text}: no file that can be read ({' '.join(sorted(SUFFIXES))})", Exit.BAD_FILE)
        for file in files:
            yield str(file), _form(file, tags)


def _files(path: Path) -> list[Path]:
    if path.is_dir():
        return sorted(file for file in path.rglob("*") if file.is_file() and file.suffix.lower() in SUFFIXES)
    if not path.is_file() or not os.access(path, os.R_OK):
        raise CliError(f"{path}: no such file, or it cannot be read", Exit.BAD_FILE)
    return [path]


def _form(file: Path, tags: tuple[str, ...]) -> Callable[[], aiohttp.FormData]:
    def made() -> aiohttp.FormData:
        form = aiohttp.FormData()
        for tag in tags:
            form.add_field("tags", tag)
        form.add_field("file", file.read_bytes(), filename=file.name)
        return form

    return made


async def _read(cli: Cli, path: str, added: dict[str, dict[str, Any]]) -> None:
    """Until every source is indexed or has failed. The server bounds how long that takes."""
    waiting = {name for name, source in added.items() if source["state"] not in ENDED}
    async with cli.out.progress("reading sources", len(added)) as bar:
        bar.advance(len(added) - len(waiting))
        while waiting:
            await asyncio.sleep(POLL_S)
            async for page in cli.api.pages(path):
                added.update({source["id"]: source for source in page if source["id"] in waiting})
            ended = {name for name in waiting if added[name]["state"] in ENDED}
            waiting -= ended
            bar.advance(len(ended))


def _tell(cli: Cli, added: dict[str, dict[str, Any]], known: set[str]) -> None:
    if cli.out.as_json:
        cli.out.value(list(added.values()))
    else:
        cli.out.table(COLUMNS, (_row(source, "known" if name in known else None) for name, source in added.items()))
    failed = sum(source["state"] == "failed" for source in added.values())
    if failed:
        raise CliError(f"{failed} of {len(added)} sources failed")


COLUMNS: Final = ("ID", "STATE", "KIND", "PASSAGES", "TITLE", "REASON")


def _row(source: dict[str, Any], state: str | None = None) -> tuple[object, ...]:
    title = source["title"] or source["fileName"] or source["url"]
    shown = state if state and source["state"] == "indexed" else source["state"]
    return (source["id"], shown, source["kind"], source["passages"], title, source["reason"])


@api_command(knowledge, "list")
@click.argument("agent")
async def list_sources(cli: Cli, agent: str) -> None:
    """List an agent's sources, newest first."""
    path = f"/agents/{(await find_agent(cli.api, agent))['id']}/knowledge/sources"
    found = [source async for page in cli.api.pages(path) for source in page]
    if cli.out.as_json:
        cli.out.value(found)
    else:
        cli.out.table(COLUMNS, map(_row, found))


@api_command(knowledge, "retry")
@click.argument("agent")
@click.argument("source")
async def retry(cli: Cli, agent: str, source: str) -> None:
    """Read a source again."""
    path = f"/agents/{(await find_agent(cli.api, agent))['id']}/knowledge/sources"
    found = (await cli.api.call("POST", f"{path}/{source}/retry")).data
    added = {found["id"]: found}
    await _read(cli, path, added)
    _tell(cli, added, set())


@api_command(knowledge, "rm")
@click.argument("agent")
@click.argument("source")
@click.option("--purge", is_flag=True, help="Take it from every published version too.")
async def remove(cli: Cli, agent: str, source: str, *, purge: bool) -> None:
    """Remove a source from the draft.

    Published versions keep theirs.
    """
    agent_id = (await find_agent(cli.api, agent))["id"]
    query = "?purge=true" if purge else ""
    data = (await cli.api.call("DELETE", f"/agents/{agent_id}/knowledge/sources/{source}{query}")).data
    if cli.out.as_json:
        cli.out.value(data)
    cli.out.say(f"{source} is removed")


@api_command(knowledge, "preview")
@click.argument("agent")
@click.argument("query")
@click.option("--top-k", type=click.IntRange(1, 20), default=4, show_default=True, help="How many passages.")
@click.option("--version", type=click.IntRange(1), help="Search a published version. [default: the draft]")
@click.option("--prompt", is_flag=True, help="Show what the model would be shown.")
async def preview(cli: Cli, agent: str, query: str, *, top_k: int, version: int | None, prompt: bool) -> None:
    """Show which passages a question finds.

    USED: the agent would answer from it. FOUND BY: words, meaning, or both.
    """
    path = f"/agents/{(await find_agent(cli.api, agent))['id']}/knowledge/preview"
    data = (await cli.api.call("POST", path, {"query": query, "topK": top_k, "version": version})).data
    if cli.out.as_json:
        cli.out.value(data)
    elif prompt:
        cli.out.say(data["prompt"])
    else:
        rows = map(_found, data["passages"])
        cli.out.table(("SCORE", "USED", "FOUND BY", "TITLE", "PAGE", "TEXT"), rows)


def _found(passage: dict[str, Any]) -> tuple[object, ...]:
    title = " › ".join(filter(None, (passage["title"], passage["heading"])))
    text = " ".join(passage["text"].split())[:PREVIEW_CHARS]
    legs = ", ".join(passage["legs"])
    return (f"{passage['score']:.2f}", "yes" if passage["used"] else "no", legs, title, passage["page"], text)


@api_command(knowledge, "gaps")
@click.argument("agent")
@click.option("--days", type=click.IntRange(1, 90), default=7, show_default=True, help="How many days to look back.")
async def gaps(cli: Cli, agent: str, *, days: int) -> None:
    """Show what users asked and the sources do not answer.

    The most frequent question comes first.
    """
    agent_id = (await find_agent(cli.api, agent))["id"]
    data = (await cli.api.call("GET", f"/agents/{agent_id}/knowledge/gaps?days={days}")).data
    if cli.out.as_json:
        cli.out.value(data)
        return
    rows = ((gap["count"], gap["question"], gap["lastAskedAt"]) for gap in data["gaps"])
    cli.out.table(("COUNT", "QUESTION", "LAST ASKED"), rows)
