"""Vectors that history keeps in MongoDB: stored in batches, searched, dropped."""

from shared.contracts.vectors import BeginVectors, NearPassages, SearchVectors, VectorBatch, VectorBuild
from shared.history_api.transport import Transport


class VectorCalls(Transport):
    """Every call raises `dependency_unavailable` for a MongoDB that cannot search vectors."""

    async def begin_vectors(self, version: tuple[str, str, int], space: str, order: BeginVectors) -> VectorBuild:
        """Raises `not_found` when the version has another set by now."""
        return VectorBuild.model_validate(await self._post(_of_version(version, space), order.wire()))

    async def add_vectors(self, version: tuple[str, str, int], space: str, batch: VectorBatch) -> None:
        """May be repeated. Raises `not_found` when the version has another set, or the vectors another build."""
        await self._post(f"{_of_version(version, space)}/rows", batch.wire())

    async def nearest_passages(self, workspace: str, key: str, space: str, order: SearchVectors) -> NearPassages:
        return NearPassages.model_validate(await self._post(f"{_of_set(workspace, key, space)}/search", order.wire()))

    async def drop_vectors(self, workspace: str, key: str, space: str) -> None:
        """May be repeated."""
        await self._call("DELETE", _of_set(workspace, key, space))


def _of_version(version: tuple[str, str, int], space: str) -> str:
    workspace, agent_id, number = version
    return f"/workspaces/{workspace}/agents/{agent_id}/versions/{number}/vectors/{space}"


def _of_set(workspace: str, key: str, space: str) -> str:
    return f"/workspaces/{workspace}/indexes/{key}/vectors/{space}"
