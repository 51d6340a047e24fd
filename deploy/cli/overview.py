"""`parley status --watch` and `--once`: the deployment at a glance, from its processes' private ports."""

import asyncio
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import aiohttp
from rich.columns import Columns
from rich.console import Group
from rich.live import Live
from rich.markup import escape
from rich.table import Table

from deploy.cli.exits import CliError, Exit
from deploy.cli.output import Output, harmless
from shared.overview.collector import Collector
from shared.overview.overview import Line, Overview
from shared.settings import Settings, SettingsError, split_list

INTERVAL_S: Final = 2.0
FIRST_S: Final = 1.0
STYLES: Final = {"ready": "green", "not ready": "yellow", "away": "red"}


async def watch(out: Output, local: Path | None, targets: Sequence[str], *, once: bool) -> None:
    """Until Ctrl-C. Raises CliError if no process is named, and with `once` if none answers."""
    urls, settings = _targets(local, targets)
    async with aiohttp.ClientSession() as http:
        collector = Collector(http, urls, settings.history_tls if settings else None)
        await collector.look()
        await asyncio.sleep(FIRST_S)  # Rates are differences of two looks.
        if once:
            _show(out, seen := await collector.look())
            if all(process.state == "away" for process in seen.processes):
                raise CliError("no process answers", Exit.UNAVAILABLE)
        elif out.as_json or not out.console.is_terminal:
            while True:
                _show(out, await collector.look())
                await asyncio.sleep(INTERVAL_S)
        else:
            await _live(out, collector)


async def _live(out: Output, collector: Collector) -> None:
    with Live(console=out.console, auto_refresh=False) as live:
        while True:
            live.update(pictured(await collector.look()), refresh=True)
            await asyncio.sleep(INTERVAL_S)


def _show(out: Output, seen: Overview) -> None:
    if out.as_json:
        out.value(seen.members())
    else:
        out.console.print(pictured(seen))


def _targets(local: Path | None, targets: Sequence[str]) -> tuple[list[str], Settings | None]:
    """The private base URLs, and the settings if they are needed for the TLS of the internal API."""
    if local is not None:
        from deploy.doctor.configuration import local_targets

        return local_targets(local), None
    environment = dict(os.environ)
    urls = list(targets) or list(split_list(environment.get("PARLEY_OVERVIEW_URLS", "")))
    if not urls:
        message = "name the processes: --local DIR, --target URL (private ports), or PARLEY_OVERVIEW_URLS"
        raise CliError(message, Exit.USAGE)
    if not any(url.startswith("https:") for url in urls):
        return urls, None
    try:
        return urls, Settings.load(environment)
    except SettingsError as refused:
        raise CliError(str(refused), Exit.USAGE) from None


def pictured(seen: Overview) -> Group:
    """Tables for a terminal."""
    lines = Columns([_lines("rates", seen.rates), _lines("errors", seen.errors)], padding=(0, 4))
    return Group(_numbers(seen), lines, _processes(seen))


def _numbers(seen: Overview) -> Table:
    table = Table(box=None, pad_edge=False)
    for name in ("waiting", "oldest", "workers", "running", "streams", "requests held"):
        table.add_column(name, justify="right")
    waiting = "?" if seen.waiting is None else str(seen.waiting)
    oldest = "?" if seen.oldest_s is None else f"{seen.oldest_s:.1f} s"
    table.add_row(waiting, oldest, *map(str, (seen.workers, seen.running, seen.streams, seen.requests_held)))
    return table


def _lines(title: str, lines: Sequence[Line]) -> Table:
    table = Table(box=None, pad_edge=False)
    table.add_column(title)
    table.add_column("now/s", justify="right")
    table.add_column("since start", justify="right")
    for line in lines:
        table.add_row(line.name, "?" if line.per_s is None else f"{line.per_s:.1f}", f"{line.count:,.0f}")
    return table


def _processes(seen: Overview) -> Table:
    table = Table(box=None, pad_edge=False)
    for name in ("process", "address", "state", "failing"):
        table.add_column(name)
    for process in seen.processes:
        cells = (process.kind, process.url, process.state, ", ".join(process.failing))
        table.add_row(*(escape(harmless(cell)) for cell in cells), style=STYLES[process.state])
    return table
