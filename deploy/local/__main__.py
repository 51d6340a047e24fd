"""`python -m deploy.local`, which `make up` runs: all of Parley on one machine, without an account or a key."""

import argparse
import asyncio
import signal
import sys
from collections.abc import Sequence

import aiohttp

from deploy.local.launcher import Launcher
from deploy.local.options import parse
from deploy.local.processes import port_is_free
from deploy.local.stack import Size, Stack, user_environment
from deploy.local.state import DirectoryTaken, LocalState
from deploy.local.stores import StoreError
from deploy.local.supervisor import StartError
from deploy.local.terminal import say
from shared.contracts.errors import ApiError
from shared.known_variables import complaints, own_variables
from shared.settings import SettingsError


def check(environment: dict[str, str]) -> None:
    """Raises StartError when the environment cannot be meant."""
    if faults := complaints(own_variables(environment)):
        raise StartError("\n".join(faults))
    if environment.get("PARLEY_MODEL_BASE_URL") and not environment.get("PARLEY_MODEL"):
        raise StartError("PARLEY_MODEL_BASE_URL is set and PARLEY_MODEL is not: set it to the name of a model there")


async def main(options: argparse.Namespace, environment: dict[str, str]) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    if options.ready_file is not None:
        options.ready_file.unlink(missing_ok=True)
    state = LocalState(options.data_dir)
    try:
        if options.port and not port_is_free(options.port):
            raise StartError(
                f'another program has port {options.port}; choose another: make up ARGS="--port 8090" (0: any free one)'
            )
        async with aiohttp.ClientSession() as http:
            size = Size(
                gateways=options.gateways, workers=options.workers, histories=options.histories, port=options.port
            )
            say(f"Starting Parley in {state.data_dir} ...")
            await Launcher(Stack(state, size, environment, http), options.ready_file).run(stop)
    finally:
        state.close()


def cli(arguments: Sequence[str]) -> int:
    try:
        environment = user_environment()
    except SettingsError as error:
        say(f"Parley did not start: {error}")
        return 2
    options = parse(arguments, environment)
    try:
        check(environment)
        asyncio.run(main(options, environment))
    except (StartError, StoreError, DirectoryTaken) as error:
        say(f"Parley did not start: {error}")
        return 1
    except ApiError as error:
        say(f"Parley did not start: history refused to set the demo agent up ({error.code}).")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(cli(sys.argv[1:]))
