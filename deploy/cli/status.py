"""`parley status`, `login`, `logout` and `profiles`: which server, which key, and whether both work."""

import asyncio
import sys
import time
from pathlib import Path
from typing import Any

import click
import orjson

from deploy.cli import overview
from deploy.cli.api import Api, Refused, version_of
from deploy.cli.commands import Cli
from deploy.cli.config import DEFAULT_PROFILE, DEFAULT_URL, Config, Profile, Target, normal_url
from deploy.cli.exits import CliError, Exit
from shared.version import VERSION


@click.option("--watch", is_flag=True, help="Show queue, workers, streams, rates and errors until Ctrl-C.")
@click.option("--once", is_flag=True, help="The same, once.")
@click.option("--local", type=click.Path(path_type=Path), metavar="DIR", help="Data directory of a running `make up`.")
@click.option(
    "--target", "targets", multiple=True, metavar="URL", help="Private address of a process; may be repeated."
)
async def status(cli: Cli, *, watch: bool, once: bool, local: Path | None, targets: tuple[str, ...]) -> None:
    """Say whether the server serves and the key works.

    With --watch or --once: the deployment at a glance, from the private ports of its processes. They are named by
    --local, by --target, or by PARLEY_OVERVIEW_URLS; this needs no key.
    """
    if watch or once:
        await overview.watch(cli.out, local, targets, once=once)
        return
    facts = await _facts(cli.api)
    if cli.out.as_json:
        cli.out.value(facts)
    else:
        cli.out.table(("", ""), {**facts, "profile": facts["profile"] or "none"}.items())
    if facts["key"] != "works":
        raise CliError(str(facts["key"]), Exit.KEY_REFUSED)
    if facts["server"] != VERSION:
        raise CliError(
            f"the server is version {facts['server']}, this is parley {VERSION}: use the same version",
            Exit.OTHER_VERSION,
        )


async def _facts(api: Api) -> dict[str, Any]:
    theirs = version_of(await api.document())
    began = time.perf_counter()
    key = await _key_state(api)
    took_ms = round((time.perf_counter() - began) * 1000, 1)
    return {
        "url": api.target.url,
        "profile": api.target.profile,
        "server": theirs,
        "client": VERSION,
        "key": key,
        "answerMs": took_ms,
    }


async def _key_state(api: Api) -> str:
    """`works`, or why not. A key without `chat:read` is a good key."""
    try:
        await api.call("GET", "/models")
    except Refused as refused:
        if refused.code == "insufficient_scope":
            return "works"
        if refused.status == 401:
            return refused.message
        raise
    return "works"


@click.command("login")
@click.option("--url", metavar="URL", help=f"The server. Default: {DEFAULT_URL}")
@click.option("--profile", default=DEFAULT_PROFILE, show_default=True, help="Under which name to keep it.")
@click.option(
    "--local", type=click.Path(path_type=Path), help="The data directory of a running `make up`: its URL and key."
)
def login(url: str | None, profile: str, local: Path | None) -> None:
    """Keep a server's URL and a key, and use them from now on.

    The key is asked for, or read from standard input. It is never an argument, where the shell would remember it.
    """
    config = Config.read()
    if local is not None:
        url, key = _local(local)
    else:
        url = url or click.prompt("Server", default=DEFAULT_URL)
        key = click.prompt("Key", hide_input=True) if sys.stdin.isatty() else sys.stdin.readline()
    target = Target(url=normal_url(str(url)), key=key.strip(), profile=profile)
    state = asyncio.run(_checked(target))
    if state != "works":
        raise CliError(state, Exit.KEY_REFUSED)
    config.profiles[profile] = Profile(url=target.url, key=key.strip())
    config.current = profile
    config.write()
    click.echo(f"{target.url} is the profile {profile} now, kept in {config.file}")


async def _checked(target: Target) -> str:
    async with Api(target) as api:
        return await _key_state(api)


def _local(directory: Path) -> tuple[str, str]:
    try:
        state = orjson.loads((directory / "state.json").read_bytes())
        return str(state["publicUrl"]), str(state["secretKey"])
    except (OSError, orjson.JSONDecodeError, KeyError, TypeError):
        raise CliError(f"{directory} is not the data directory of a running `make up`", Exit.BAD_FILE) from None


@click.command("logout")
@click.option("--profile", help="Default: the current one.")
def logout(profile: str | None) -> None:
    """Forget a profile and its key. The key itself stays valid."""
    config = Config.read()
    name = profile or config.current
    if config.profiles.pop(name, None) is None:
        raise CliError(f"there is no profile {name}", Exit.USAGE)
    if config.current == name:
        config.current = next(iter(config.profiles), DEFAULT_PROFILE)
    config.write()
    click.echo(f"the profile {name} is forgotten")


@click.command("profiles")
@click.argument("use", required=False)
def profiles(use: str | None) -> None:
    """List the profiles, or make USE the current one."""
    config = Config.read()
    if use is not None:
        if use not in config.profiles:
            raise CliError(f"there is no profile {use}", Exit.USAGE)
        config.current = use
        config.write()
    for name, profile in config.profiles.items():
        click.echo(f"{'*' if name == config.current else ' '} {name}  {profile.url}")
