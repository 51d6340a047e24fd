"""How a command of `parley` is made: the options that all have, the connection to the server, the loop that runs it."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import click

from deploy.cli.api import Api
from deploy.cli.config import Config, Target
from deploy.cli.output import Output

Body = Callable[..., Awaitable[None]]


@dataclass(frozen=True, kw_only=True)
class Cli:
    """What a command's body gets first."""

    api: Api
    out: Output


def api_command(group: click.Group, name: str) -> Callable[[Body], click.Command]:
    """Registers an async function as a command. Its docstring is the help, its `click.option`s stand below."""

    def register(body: Body) -> click.Command:
        def run(*, as_json: bool, profile: str | None, server: str | None, **options: Any) -> None:
            target, out = Config.read().target(server, profile), Output(as_json=as_json)
            asyncio.run(_run(body, target, out, options))

        run.__doc__ = body.__doc__
        # Options of the body were collected by click on the function itself.
        run.__click_params__ = getattr(body, "__click_params__", [])  # type: ignore[attr-defined]
        return group.command(name)(connection_options(run))

    return register


async def _run(body: Body, target: Target, out: Output, options: dict[str, Any]) -> None:
    async with Api(target, waiting=partial(out.progress, f"waiting for {target.url}")) as api:
        await body(Cli(api=api, out=out), **options)


def connection_options(function: Callable[..., None]) -> Callable[..., None]:
    # Not named `url`: a command may have a URL of its own.
    server = click.option("--url", "server", metavar="URL", help="The server; else PARLEY_URL, else the profile's.")
    function = server(function)
    function = click.option("--profile", metavar="NAME", help="A profile of `parley login`; else PARLEY_PROFILE.")(
        function
    )
    return click.option("--json", "as_json", is_flag=True, help="Write JSON.")(function)
