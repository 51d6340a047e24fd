"""`parley end-users …`: all that is held of an end user is exported, or erased."""

import asyncio
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any, BinaryIO, Final
from urllib.parse import quote

import aiohttp
import click
import orjson

from deploy.cli.commands import Cli, api_command
from deploy.cli.exits import CliError, Exit

POLL_S: Final = 1.0


@click.group("end-users")
def end_users() -> None:
    """End users: export or erase all that is held of one.

    They need a key with the scope endusers:write.
    """


@api_command(end_users, "export")
@click.argument("end_user")
@click.option("-o", "--output", type=click.Path(path_type=Path, dir_okay=False), help="A file; else standard output.")
async def export(cli: Cli, end_user: str, *, output: Path | None) -> None:
    """Write all that is held of END_USER, one JSON document a line."""
    last, rest = b"", b""
    with ExitStack() as files:
        out: BinaryIO = files.enter_context(output.open("wb")) if output else sys.stdout.buffer
        try:
            async with cli.api.open("GET", f"{_path(end_user)}/export", stream=True) as response:
                if response.status != 200:
                    raise cli.api.refusal(response.status, orjson.loads(await response.read()))
                async for piece in response.content.iter_any():
                    out.write(piece)
                    *lines, rest = (rest + piece).split(b"\n")
                    last = lines[-1] if lines else last
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise cli.api.unreachable(error) from None
    end = orjson.loads(last) if last else {}
    if end.get("type") != "end":
        raise CliError("the export is incomplete: ask for it again", Exit.UNAVAILABLE)
    counts = ", ".join(f"{end[name]} {name}" for name in ("sessions", "turns", "completions"))
    cli.out.note(f"{counts} exported")


@api_command(end_users, "erase")
@click.argument("end_user")
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@click.option("--no-wait", is_flag=True, help="Do not wait for the receipt.")
async def erase(cli: Cli, end_user: str, *, yes: bool, no_wait: bool) -> None:
    """Erase all that is held of END_USER, and show the receipt.

    The erasure goes on without this command; `parley end-users receipt` shows it later.
    """
    if not yes and click.prompt("This cannot be undone. Type the end user's id") != end_user:
        raise CliError("that is another id: nothing was erased")
    erasure = (await cli.api.call("DELETE", _path(end_user))).data
    cli.out.note(f"the erasure is {erasure['id']}")
    while erasure["status"] != "erased" and not no_wait:
        await asyncio.sleep(POLL_S)
        erasure = await _erasure(cli, erasure["id"])
    _show(cli, erasure)


@api_command(end_users, "receipt")
@click.argument("erasure")
async def receipt(cli: Cli, erasure: str) -> None:
    """Show an erasure: what it has erased, and when it was complete."""
    _show(cli, await _erasure(cli, erasure))


async def _erasure(cli: Cli, erasure_id: str) -> dict[str, Any]:
    found: dict[str, Any] = (await cli.api.call("GET", f"/end-user-erasures/{quote(erasure_id, safe='')}")).data
    return found


def _show(cli: Cli, erasure: dict[str, Any]) -> None:
    if cli.out.as_json:
        cli.out.value(erasure)
        return
    facts = {name: erasure.get(name) for name in ("id", "status", "requestedAt", "completedAt")}
    cli.out.table(("", ""), {**facts, **erasure["erased"]}.items())


def _path(end_user: str) -> str:
    return "/end-users/" + quote(end_user, safe="")
