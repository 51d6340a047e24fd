"""Which readings of sources are still named: by their source, or by a version. Of others the passages go."""

from collections.abc import Sequence
from typing import Final

from services.history.knowledge.source_documents import named_readings, source_of_owner
from services.history.mongo.client import Database
from services.history.mongo.filters import one_of

_NAMING: Final = {"workspace": 1, "attempt": 1, "currentAttempt": 1, "stale": 1, "waiting": 1, "removed": 1}


class Readings:
    def __init__(self, database: Database) -> None:
        self._sources = database.sources
        self._versions = database.agent_versions

    async def unnamed(self, owners: Sequence[str]) -> list[str]:
        """Those owners of passages that nothing names. What an operator gave a version is no reading, and stays."""
        of_sources = [owner for owner in owners if source_of_owner(owner)]
        ids = sorted({source_of_owner(owner) for owner in of_sources})
        rows = await self._sources.many({"_id": one_of(ids)}, fields=_NAMING, limit=len(ids)) if ids else []
        named = {owner for row in rows for owner in named_readings(row)}
        return [owner for owner in of_sources if owner not in named and not await self._is_held(owner)]

    async def _is_held(self, owner: str) -> bool:
        versions = await self._versions.many({"sourceIds": source_of_owner(owner)}, fields={"sources": 1})
        return any(entry["owner"] == owner for version in versions for entry in version["sources"])
