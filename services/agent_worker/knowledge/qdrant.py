"""Vectors in Qdrant, which workers share: each version is embedded and stored once. Needs requirements-qdrant."""

import asyncio
import hashlib
from collections.abc import Awaitable, Sequence
from typing import Final, TypeVar
from uuid import NAMESPACE_OID, UUID, uuid5

import numpy as np
from cachetools import LRUCache
from httpx import HTTPError
from qdrant_client import AsyncQdrantClient, models
from qdrant_client.http.exceptions import ApiException

from services.agent_worker.knowledge.endpoints import EndpointFault
from services.agent_worker.knowledge.retriever import VersionKey
from services.agent_worker.knowledge.vector_index import similar
from services.agent_worker.knowledge.vector_store import Matrix, normalized
from services.agent_worker.metrics import RETRIEVAL_LEG_FAULTS
from shared.contracts.agents import Passage
from shared.contracts.sessions import RetrievedPassage
from shared.log import get_logger

log = get_logger()
T = TypeVar("T")

QUERY_TIMEOUT_S: Final = 1.0
WRITE_TIMEOUT_S: Final = 30.0
# How many sets are looked at, to find those that are gone.
MAX_SETS: Final = 10_000
BATCH: Final = 256
# A cosine of 0 says nothing. Qdrant compares 32-bit numbers.
_LEAST: Final = 1e-6
_PASSAGE: Final = "passage"
_COMPLETE: Final = "complete"


class QdrantVectors:
    """See VectorIndex. One collection per embedding model; points say which version and workspace they belong to.

    A version's last point says that all others are stored. Ids follow from the content, so workers that store the same
    version write the same points, and one that was killed leaves nothing that is searched.
    """

    def __init__(self, client: AsyncQdrantClient, model: str) -> None:
        self._client = client
        self._name = f"parley_{hashlib.sha256(model.encode()).hexdigest()[:16]}"
        self._complete: LRUCache[VersionKey, bool] = LRUCache(10_000)

    async def has(self, version: VersionKey) -> bool:
        if version in self._complete:
            return True
        if not await _within(QUERY_TIMEOUT_S, self._client.collection_exists(self._name)):
            return False
        found = await _within(QUERY_TIMEOUT_S, self._client.retrieve(self._name, [_id(version, _COMPLETE)]))
        if found:
            self._complete[version] = True
        return bool(found)

    async def add(self, version: VersionKey, passages: Sequence[Passage], vectors: Matrix) -> None:
        await self._made_collection(vectors.shape[1])
        points = [
            _point(version, f"{_PASSAGE} {number}", vector, {"kind": _PASSAGE, "passage": passage.model_dump_json()})
            for number, (passage, vector) in enumerate(zip(passages, vectors, strict=True))
        ]
        for start in range(0, len(points), BATCH):
            await self._stored(points[start : start + BATCH])
        await self._stored([_point(version, _COMPLETE, vectors[0], {"kind": _COMPLETE})])
        self._complete[version] = True

    async def nearest(self, version: VersionKey, vector: Sequence[float], most: int) -> list[RetrievedPassage]:
        query = normalized(vector)
        if not np.any(query):
            return []
        answer = await _within(
            QUERY_TIMEOUT_S,
            self._client.query_points(
                self._name,
                query=query.tolist(),
                query_filter=_filter(version=_name(version), kind=_PASSAGE),
                limit=most,
                score_threshold=_LEAST,
                with_payload=["passage"],
            ),
        )
        if not answer.points:
            # Perhaps somebody has emptied the collection: the next search looks for the version's last point.
            self._complete.pop(version, None)
        found = [((point.payload or {})["passage"], point.score) for point in answer.points]
        return [similar(Passage.model_validate_json(passage), cosine) for passage, cosine in found]

    async def drop(self, version: VersionKey) -> None:
        self._complete.pop(version, None)
        if await _within(QUERY_TIMEOUT_S, self._client.collection_exists(self._name)):
            selector = models.FilterSelector(filter=_filter(version=_name(version)))
            await _within(WRITE_TIMEOUT_S, self._client.delete(self._name, selector, wait=True))

    async def kept(self) -> set[str]:
        """Of all workers' points, also those of workers that have ended."""
        try:
            if not await _within(QUERY_TIMEOUT_S, self._client.collection_exists(self._name)):
                return set()
            found = await _within(WRITE_TIMEOUT_S, self._client.facet(self._name, "knowledge", limit=MAX_SETS))
        except EndpointFault as fault:
            self._not_cleaned(fault)
            return set()
        return {str(hit.value) for hit in found.hits if hit.value}

    async def discard(self, keys: set[str]) -> None:
        for version in [version for version in self._complete if version.knowledge in keys]:
            self._complete.pop(version, None)
        try:
            for key in keys:
                selector = models.FilterSelector(filter=_filter(knowledge=key))
                await _within(WRITE_TIMEOUT_S, self._client.delete(self._name, selector, wait=True))
        except EndpointFault as fault:
            self._not_cleaned(fault)

    def _not_cleaned(self, fault: EndpointFault) -> None:
        RETRIEVAL_LEG_FAULTS.labels("vectors").inc()
        log.warning("qdrant_not_cleaned", error=str(fault))

    async def close(self) -> None:
        await self._client.close()

    async def _stored(self, points: list[models.PointStruct]) -> None:
        await _within(WRITE_TIMEOUT_S, self._client.upsert(self._name, points, wait=True))

    async def _made_collection(self, size: int) -> None:
        if await _within(QUERY_TIMEOUT_S, self._client.collection_exists(self._name)):
            return
        # Vectors have length 1, so a dot product is their cosine; one of a text without meaning is all zeros, of which
        # there is no cosine.
        parameters = models.VectorParams(size=size, distance=models.Distance.DOT)
        try:
            await _within(WRITE_TIMEOUT_S, self._client.create_collection(self._name, vectors_config=parameters))
        except EndpointFault:
            # Another worker may have been faster.
            if not await _within(QUERY_TIMEOUT_S, self._client.collection_exists(self._name)):
                raise
        tenant = models.KeywordIndexParams(type=models.KeywordIndexType.KEYWORD, is_tenant=True)
        for field in ("version", "workspace", "knowledge"):
            schema = tenant if field == "version" else models.PayloadSchemaType.KEYWORD
            await _within(WRITE_TIMEOUT_S, self._client.create_payload_index(self._name, field, schema, wait=True))


def qdrant_vectors(url: str, api_key: str, model: str) -> QdrantVectors:
    client = AsyncQdrantClient(
        url=url, api_key=api_key or None, timeout=int(WRITE_TIMEOUT_S), check_compatibility=False
    )
    return QdrantVectors(client, model)


def _name(version: VersionKey) -> str:
    return "/".join(map(str, version))


def _id(version: VersionKey, part: str) -> str:
    return str(uuid5(UUID(str(NAMESPACE_OID)), f"{_name(version)} {part}"))


def _point(version: VersionKey, part: str, vector: Matrix, payload: dict[str, str]) -> models.PointStruct:
    owner = {"version": _name(version), "workspace": version.workspace, "knowledge": version.knowledge}
    return models.PointStruct(id=_id(version, part), vector=vector.tolist(), payload=owner | payload)


def _filter(**values: str) -> models.Filter:
    return models.Filter(
        must=[models.FieldCondition(key=key, match=models.MatchValue(value=value)) for key, value in values.items()]
    )


async def _within(timeout_s: float, operation: Awaitable[T]) -> T:
    """Raises EndpointFault."""
    try:
        async with asyncio.timeout(timeout_s):
            return await operation
    except (ApiException, HTTPError, OSError, TimeoutError, ValueError) as error:
        raise EndpointFault(type(error).__name__) from error
