"""A version that must pass its checks before it is published waits here."""

from services.history.checks.runs import Runs
from services.history.mongo.client import Database
from services.history.mongo.filters import Document
from shared.contracts.checks import RunChecks
from shared.contracts.errors import ApiError, Code


class PublishGate:
    def __init__(self, database: Database, runs: Runs) -> None:
        self._versions = database.agent_versions
        self._runs = runs

    async def is_ready(self, row: Document) -> bool:
        """For `Publishing`: False while the version's checks run. Raises a final error that names those that failed."""
        if not row.get("requireChecks"):
            return True
        workspace, _, agent_id = row["agent"].partition(":")
        # The run is always the same for a version, so a repeat after a kill waits for it and starts no second one.
        order = RunChecks(version=row["number"], key=f"publish:{row['number']}", actor=row.get("createdBy"))
        try:
            run = await self._runs.create(workspace, agent_id, order)
        except ApiError as error:
            if error.code is not Code.RATE_LIMITED:
                raise
            return False  # Other runs come first; the reconciler asks again.
        if row.get("checkRun") is None:
            await self._versions.update({"_id": row["_id"]}, {"$set": {"checkRun": run.id}})
        if run.state == "failed":
            names = ", ".join(check.name for check in run.progress if check.state == "failed")
            raise ApiError(Code.VERSION_CONFLICT, f"These checks failed: {names}. Run: {run.id}.")
        return run.state == "passed"
