"""`parley doctor`: what is wrong with a deployment, and how to mend it."""

import asyncio
import os
from dataclasses import asdict
from pathlib import Path

import click

from deploy.cli.exits import CliError
from deploy.cli.output import Output


@click.command("doctor")
@click.option("--local", type=click.Path(path_type=Path), metavar="DIR", help="Data directory of a running `make up`.")
@click.option("--url", metavar="URL", help="The address that clients use; else PARLEY_PUBLIC_URL.")
@click.option(
    "--target", "targets", multiple=True, metavar="URL", help="Private address of a process; may be repeated."
)
@click.option("--strict", is_flag=True, help="Warnings count as errors for the exit code.")
@click.option("--json", "as_json", is_flag=True, help="Write JSON.")
def doctor(local: Path | None, url: str | None, targets: tuple[str, ...], *, strict: bool, as_json: bool) -> None:
    """Examine a deployment and say what to mend.

    It examines configuration, stores, processes, model servers and the way of a stream, and changes nothing. It reads
    the same PARLEY_* variables as the processes, so run it where one of them runs; --local DIR examines what `make up`
    runs. The exit code is 0 without errors and 1 with one.
    """
    # Imported here: it loads the settings of all services, which no other command needs.
    from deploy.doctor.configuration import local_environment, local_targets
    from deploy.doctor.examination import examine

    environment = local_environment(local) if local else dict(os.environ)
    private = [*targets, *(local_targets(local) if local else ())]
    found = asyncio.run(examine(environment, url=url, targets=private, is_local=local is not None))
    out = Output(as_json=as_json)
    errors = sum(finding.severity == "error" for finding in found)
    if as_json:
        out.value({"errors": errors, "warnings": len(found) - errors, "findings": [asdict(each) for each in found]})
    else:
        for finding in found:
            out.say(f"{finding.severity.upper()}  {finding.subject}  [{finding.code}]\n  {finding.message}")
            out.say(f"  To mend it: {finding.mend}")
        if not found:
            out.say("Nothing is wrong.")
    if errors or (strict and found):
        raise CliError(f"{_counted(errors, 'error')}, {_counted(len(found) - errors, 'warning')}")


def _counted(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"
