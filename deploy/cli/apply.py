"""`parley agents apply`: what a file changes on the server, shown first, and then made in one request."""

import sys
import uuid
from typing import Any, Final, NamedTuple

import click

from deploy.cli.agent_lookup import agent_or_none
from deploy.cli.agent_source import AgentSource, normal, normal_checks
from deploy.cli.api import Api, Refused
from deploy.cli.commands import Cli
from deploy.cli.difference import Difference, differences, lines_of, merge_patch
from deploy.cli.exits import CliError, Exit
from deploy.cli.lock import Lock, Seen

CHECKS: Final = "checks"
_CHANGED: Final = (
    "the draft was changed on the server since this file was applied from here: take the change into the file"
    " (`parley agents show {slug} --yaml`), or repeat with --overwrite"
)
_UNSEEN: Final = (
    "{slug} exists on the server and differs, and this file was never applied from here: compare, and repeat with"
    " --overwrite"
)


class OnServer(NamedTuple):
    """The agent with its draft, and its checks if the file speaks of them."""

    agent: dict[str, Any]
    checks: list[dict[str, Any]]
    checks_revision: int | None

    @property
    def seen(self) -> Seen:
        return Seen(self.agent["id"], self.agent["revision"], self.checks_revision)


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
        if current is not None and not found and (dry_run or not self._source.has_secrets):
            return self._done("unchanged", current)
        if current is not None and found and not overwrite:
            self._refuse_unseen(current, found)
        if dry_run:
            return self._result("planned", current, found)
        if found or current is None:
            _confirm(yes)
        return await self._send(current, found)

    # --- what is there, and what differs

    async def _current(self) -> OnServer | None:
        """The agent that this file is on this server: by the lock, else by its slug."""
        seen = self._lock.seen(self._api.target.url)
        found = await agent_or_none(self._api, seen.agent_id) if seen else None
        found = found or await agent_or_none(self._api, self._source.slug)
        if found is None or self._source.checks is None:
            return OnServer(found, [], None) if found else None
        checks = (await self._api.call("GET", f"/agents/{found['id']}/checks")).data
        return OnServer(found, normal_checks(checks["checks"]), checks["revision"])

    def _differences(self, current: OnServer) -> list[Difference]:
        before = {"slug": current.agent["slug"], **normal(current.agent["draft"]), CHECKS: current.checks}
        after = {"slug": self._source.slug, **self._source.shown, CHECKS: self._source.checks or []}
        return differences(before, after)

    def _show_plan(self, current: OnServer | None, found: list[Difference]) -> None:
        out, slug = self._cli.out, self._source.slug
        if current is None:
            out.changes([f"+ create the agent {slug} on {self._api.target.url}"])
        elif found:
            revision = current.agent["revision"]
            out.changes([f"~ change the draft of {slug} (revision {revision}) on {self._api.target.url}"])
            out.changes(f"  {line}" for difference in found for line in lines_of(difference))
        if self._source.has_secrets:
            out.changes(["  the values of secrets are sent; the server keeps those that are the same"])

    def _refuse_unseen(self, current: OnServer, found: list[Difference]) -> None:
        seen = self._lock.seen(self._api.target.url)
        if seen is None or seen.agent_id != current.agent["id"]:
            raise CliError(_UNSEEN.format(slug=self._source.slug), Exit.CONFLICT)
        is_new_draft = seen.revision != current.agent["revision"] and not all(map(_is_of_checks, found))
        is_new_suite = (seen.checks or 0) != (current.checks_revision or 0) and any(map(_is_of_checks, found))
        if is_new_draft or is_new_suite:
            raise CliError(_CHANGED.format(slug=self._source.slug), Exit.CONFLICT)

    # --- the change

    async def _send(self, current: OnServer | None, found: list[Difference]) -> dict[str, Any]:
        """First the draft, then the checks. Whatever was cut off in between is made by the next `apply`."""
        try:
            if current is None:
                changed = OnServer(await self._create(), [], None if self._source.checks is None else 0)
            else:
                changed = current._replace(agent=await self._change(current.agent))
            checks = self._source.checks
            if checks is not None and checks != changed.checks:
                changed = await self._put_checks(changed, checks)
        except Refused as refused:
            if refused.code == "version_conflict":
                await self._show_conflict()
            raise self._with_lines(refused) from None
        if current is None:
            return self._done("created", changed)
        return self._done("changed" if found or changed.seen != current.seen else "unchanged", changed)

    async def _create(self) -> dict[str, Any]:
        body = {"slug": self._source.slug, **self._source.draft}
        reply = await self._api.call("POST", "/agents", body, {"Idempotency-Key": uuid.uuid4().hex})
        agent = dict(reply.data)
        # Noted at once: if the checks are refused now, the next `apply` knows this agent as its own.
        self._lock.note(self._api.target.url, Seen(agent["id"], agent["revision"]))
        return agent

    async def _change(self, agent: dict[str, Any]) -> dict[str, Any]:
        patch = merge_patch(normal(agent["draft"]), self._source.draft)
        if agent["slug"] != self._source.slug:
            patch["slug"] = self._source.slug
        if not patch:
            return agent
        tag = {"If-Match": f'"{agent["revision"]}"'}
        return dict((await self._api.call("PATCH", f"/agents/{agent['id']}", patch, tag)).data)

    async def _put_checks(self, current: OnServer, checks: list[dict[str, Any]]) -> OnServer:
        tag = {"If-Match": f'"{current.checks_revision}"'}
        path, body = f"/agents/{current.agent['id']}/checks", {"checks": checks}
        stored = (await self._api.call("PUT", path, body, tag)).data
        return current._replace(checks=checks, checks_revision=stored["revision"])

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

    def _done(self, outcome: str, current: OnServer) -> dict[str, Any]:
        agent, seen = current.agent, self._lock.seen(self._api.target.url)
        kept = current.seen
        if kept.checks is None and seen is not None and seen.agent_id == kept.agent_id:
            kept = kept._replace(checks=seen.checks)
        self._lock.note(self._api.target.url, kept)
        self._cli.out.say(f"{agent['slug']} {outcome}: {agent['id']}, revision {agent['revision']}")
        return self._result(outcome, current, [])

    @staticmethod
    def _result(outcome: str, current: OnServer | None, found: list[Difference]) -> dict[str, Any]:
        agent: dict[str, Any] = current.agent if current else {}
        known: dict[str, Any] = {name: agent[name] for name in ("id", "slug", "revision") if name in agent}
        return {"outcome": outcome, **known, "changes": [difference._asdict() for difference in found]}


def _is_of_checks(difference: Difference) -> bool:
    return difference.field.partition(".")[0] == CHECKS


def _confirm(yes: bool) -> None:
    if yes:
        return
    if not sys.stdin.isatty():
        raise CliError("there is no terminal to ask on: repeat with --yes", Exit.USAGE)
    if not click.confirm("Apply?"):
        raise CliError("nothing was changed", Exit.FAILED)
