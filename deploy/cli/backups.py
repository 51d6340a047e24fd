"""`parley backup`, `parley restore` and `parley migrate`: for operators, where a history runs.

They open the stores themselves with history's own settings and rules. An empty database has no history to ask, and a
running one would repair what is restored by half.
"""

import asyncio
import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from deploy.cli.exits import LOCAL_HINT, CliError, Exit

if TYPE_CHECKING:
    from services.history.backups.manifest import Manifest
    from services.history.backups.stores import Stores

T = TypeVar("T")
_local = click.option(
    "--local", type=click.Path(path_type=Path), metavar="DIR", help="Data directory of a running `make up`."
)
_folder = click.argument("folder", type=click.Path(path_type=Path))


@click.command("backup")
@_folder
@_local
def backup(folder: Path, local: Path | None) -> None:
    """Write all documents and knowledge files into a new FOLDER.

    Everything may run meanwhile. Reads the PARLEY_* variables of history. Secrets stay sealed and keys are digests:
    keep PARLEY_SECRETS_KEYS apart from the backup, and do not lose it.
    """
    from services.history.backups.backup import Backup
    from services.history.backups.faults import BackupFault

    async def run(stores: "Stores") -> "Manifest":
        try:
            return await Backup(stores, _Shown("copied")).write(folder)
        except OSError as error:
            raise BackupFault(f"{error.filename or folder}: {error.strerror}: nothing of this backup is kept") from None

    manifest = _with_stores(local, run)
    click.echo(f"{folder} is complete: {_described(manifest)}", err=True)


@click.command("restore")
@_folder
@click.option("--check", is_flag=True, help="Only examine the backup. Needs no store.")
@click.option("--reuse-blobs", is_flag=True, help="The S3 bucket belonged to the deployment that was lost.")
@_local
def restore(folder: Path, local: Path | None, *, check: bool, reuse_blobs: bool) -> None:
    """Restore the backup FOLDER into an empty database.

    Stop every process of the deployment and give it an empty Redis. Nothing is written unless the whole backup is what
    was written. Run the same command again after an interruption. Reads the PARLEY_* variables of history. With
    --local, PARLEY_MONGODB_DATABASE names a new database of that stack's MongoDB, and the stack runs on.
    """
    from services.history.backups.examination import examined
    from services.history.backups.faults import BackupFault
    from services.history.backups.restore import Restore

    if check:
        try:
            manifest = examined(folder, _Shown("examined"))
        except BackupFault as fault:
            raise CliError(str(fault), Exit.BAD_FILE) from None
        click.echo(f"{folder} is whole: {_described(manifest)}", err=True)
        return

    async def run(stores: "Stores") -> "Manifest":
        restoring = Restore(stores, reuse_blobs=reuse_blobs, progress=_Shown("restored"), examining=_Shown("examined"))
        return await restoring.run(folder)

    manifest = _with_stores(local, run, restoring=True)
    click.echo(f"{folder} is restored: {_described(manifest)}", err=True)


@click.command("migrate")
@click.option("--check", is_flag=True, help="Only count the documents that are left, by collection.")
@_local
def migrate(local: Path | None, *, check: bool) -> None:
    """Rewrite the documents of earlier releases in today's form.

    Nothing has to wait for it: older documents are migrated whenever they are read. Everything may run meanwhile; run
    it when no process of an earlier release is left. Interrupted, it goes on where it was. Reads the PARLEY_* variables
    of history. With --check the exit code is 1 while documents are left.
    """
    from services.history.mongo.rewriting import Rewriting

    async def count(stores: "Stores") -> dict[str, int]:
        return await Rewriting(stores.database, _Shown("counted")).left()

    async def run(stores: "Stores") -> dict[str, int]:
        return await Rewriting(stores.database, _Shown("migrated")).run()

    found = _with_stores(local, count if check else run)
    for name, number in sorted(found.items()):
        if number:
            click.echo(f"{name}  {number}")
    total = sum(found.values())
    click.echo(f"{total} documents {'are left' if check else 'were migrated'}", err=True)
    if check and total:
        raise CliError("run `parley migrate`")


def _described(manifest: "Manifest") -> str:
    blobs = sum(each.documents for each in manifest.blob_lists)
    parts = [f"{count} {name}" for name, count in manifest.counts.items() if count]
    made = f"of {manifest.started_at.isoformat(timespec='seconds')} by release {manifest.release}"
    return f"{', '.join([*parts, f'{blobs} knowledge files'])}; {made}"


class _Shown:
    """Progress on standard error: a line per collection, rewritten at a terminal."""

    def __init__(self, verb: str) -> None:
        self._verb = verb
        self._name = ""

    def __call__(self, name: str, count: int) -> None:
        is_terminal = os.isatty(2)
        if is_terminal and name == self._name:
            click.echo(f"\r{self._verb} {name}: {count}", err=True, nl=False)
        elif name != self._name:
            click.echo(
                f"{chr(10) if is_terminal and self._name else ''}{self._verb} {name}", err=True, nl=not is_terminal
            )
        self._name = name


def _with_stores(local: Path | None, work: "Callable[[Stores], Awaitable[T]]", *, restoring: bool = False) -> T:
    """Raises CliError for every fault."""
    # Imported here: they load the driver of MongoDB, which no other command needs.
    from services.history.backups.faults import BackupFault
    from services.history.backups.stores import opened
    from services.history.mongo.client import Database
    from services.history.mongo.patience import NoAnswer
    from services.history.wiring import blobs_of

    settings: Any = _settings(local)

    async def run() -> T:
        database = Database(
            settings.mongodb_uri, settings.mongodb_database, driver=settings.mongodb_driver, restoring=restoring
        )
        async with opened(database, blobs_of(database, settings)) as stores:
            return await work(stores)

    try:
        return asyncio.run(run())
    except BackupFault as fault:
        raise CliError(str(fault)) from None
    except NoAnswer as fault:
        raise CliError(str(fault), Exit.UNAVAILABLE) from None
    except ModuleNotFoundError as error:
        raise CliError(f"{error.name} is not installed: PARLEY_S3_BUCKET needs requirements-s3.lock") from None


def _settings(local: Path | None) -> Any:
    from deploy.doctor.configuration import local_environment
    from services.history.settings import HistorySettings
    from shared.log import configure
    from shared.settings import SettingsError

    try:
        settings = HistorySettings.load(local_environment(local) if local is not None else None)
    except SettingsError as error:
        raise CliError(f"{error}\n{LOCAL_HINT}", Exit.USAGE) from None
    configure("cli", "warning")
    return settings
