"""`parley agents apply`: what a file changes on the server, shown first, and then made in one request."""

import sys
import uuid
from typing import Any, Final

import click

from deploy.cli.agent_lookup import agent_or_none
from deploy.cli.agent_source import AgentSource, normal
from deploy.cli.api import Api, Refused
from deploy.cli.commands import Cli
from deploy.cli.difference import Difference, differences, lines_of, merge_patch
from deploy.cli.exits import CliError, Exit
from deploy.cli.lock import Lock, Seen

_CHANGED: Final = (
    "the draft was changed on the server since this file was applied from here: take the change into the file"
    " (`parley agents show {slug} --yaml`), or repeat with --overwrite"
)
_UNSEEN: Final = (
    "{slug} exists on the server and differs, and this file was never applied from here: compare, and repeat with"
    " --overwrite"
)


class Apply:
    """One file on its way to one server."""

    def __init__(self, cli: Cli, source: AgentSource) -> None:
        self._cli = cli
        self._api: Api = cli.api
        self._source = source
        self._lock = Lock.beside(source.file)

    async def run(self, *, yes: bool, overwrite: bool, dry_run: bool) -> dict[str, Any]:
        """The result for `--json`. Raises CliError."""
        current = await self._current()
        found = [] if current is None else self._differences(current)
        self._show_plan(current, found)
        if current is not None and not found and not (self._source.has_secrets and not dry_run):
            return self._done("unchanged", current)
        if current is not None and found and not overwrite:
            self._refuse_unseen(current)
        if dry_run:
            return self._result("planned", current, found)
        if found or current is None:
            _confirm(yes)
        return self._done(*await self._send(current, found))

    async def _current(self) -> dict[str, Any] | None:
        """The agent that this file is on this server: by the lock, else by its slug."""
        seen = self._lock.seen(self._api.target.url)
        found = await agent_or_none(self._api, seen.agent_id) if seen else None
        return found or await agent_or_none(self._api, self._source.slug)

    def _differences(self, current: dict[str, Any]) -> list[Difference]:
        before = {"slug": current["slug"], **normal(current["draft"])}
        return differences(before, {"slug": self._source.slug, **self._source.shown})

    def _show_plan(self, current: dict[str, Any] | None, found: list[Difference]) -> None:
        out, slug = self._cli.out, self._source.slug
        if current is None:
            out.changes([f"+ create the agent {slug} on {self._api.target.url}"])
        elif found:
            out.changes([f"~ change the draft of {slug} (revision {current['revision']}) on {self._api.target.url}"])
            out.changes(f"  {line}" for difference in found for line in lines_of(difference))
        if self._source.has_secrets:
            out.changes(["  the values of secrets are sent; the server keeps those that are the same"])

    def _refuse_unseen(self, current: dict[str, Any]) -> None:
        seen = self._lock.seen(self._api.target.url)
        if seen is None or seen.agent_id != current["id"]:
            raise CliError(_UNSEEN.format(slug=self._source.slug), Exit.CONFLICT)
        if seen.revision != current["revision"]:
            raise CliError(_CHANGED.format(slug=self._source.slug), Exit.CONFLICT)

    async def _send(self, current: dict[str, Any] | None, found: list[Difference]) -> tuple[str, dict[str, Any]]:
        try:
            if current is None:
                return "created", await self._create()
            changed = await self._change(current)
        except Refused as refused:
            if refused.code == "version_conflict":
                await self._show_conflict()
            raise self._with_lines(refused) from None
        return ("changed" if found or changed["revision"] != current["revision"] else "unchanged"), changed

    async def _create(self) -> dict[str, Any]:
        body = {"slug": self._source.slug, **self._source.draft}
        reply = await self._api.call("POST", "/agents", body, {"Idempotency-Key": uuid.uuid4().hex})
        return dict(reply.data)

    async def _change(self, current: dict[str, Any]) -> dict[str, Any]:
        patch = merge_patch(normal(current["draft"]), self._source.draft)
        if current["slug"] != self._source.slug:
            patch["slug"] = self._source.slug
        tag = {"If-Match": f'"{current["revision"]}"'}
        return dict((await self._api.call("PATCH", f"/agents/{current['id']}", patch, tag)).data)

    async def _show_conflict(self) -> None:
        """Another editor was faster than this command: what the server has now, against the file."""
        current = await self._current()
        if current is not None:
            lines = (line for difference in self._differences(current) for line in lines_of(difference))
            self._cli.out.changes(lines, aside=True)
        raise CliError(_CHANGED.format(slug=self._source.slug), Exit.CONFLICT)

    def _with_lines(self, refused: Refused) -> CliError:
        if not refused.faults:
            return refused
        lines = [self._source.fault(str(fault.get("field")), str(fault.get("message"))) for fault in refused.faults]
        return CliError("\n".join(lines), Exit.BAD_FILE)

    def _done(self, outcome: str, agent: dict[str, Any]) -> dict[str, Any]:
        self._lock.note(self._api.target.url, Seen(agent["id"], agent["revision"]))
        self._cli.out.say(f"{agent['slug']} {outcome}: {agent['id']}, revision {agent['revision']}")
        return self._result(outcome, agent, [])

    @staticmethod
    def _result(outcome: str, agent: dict[str, Any] | None, found: list[Difference]) -> dict[str, Any]:
        known = {"id": agent["id"], "slug": agent["slug"], "revision": agent["revision"]} if agent else {}
        return {"outcome": outcome, **known, "changes": [difference._asdict() for difference in found]}


def _confirm(yes: bool) -> None:
    if yes:
        return
    if not sys.stdin.isatty():
        raise CliError("there is no terminal to ask on: repeat with --yes", Exit.USAGE)
    if not click.confirm("Apply?"):
        raise CliError("nothing was changed", Exit.FAILED)
