"""The retriever that the settings ask for."""

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING

from services.agent_worker.knowledge.current import CurrentRetriever, LocalCache
from services.agent_worker.knowledge.endpoints import Embeddings, Reranker
from services.agent_worker.knowledge.fts5 import Fts5Retriever
from services.agent_worker.knowledge.index_blobs import IndexBlobs
from services.agent_worker.knowledge.retriever import Retriever, VersionKey
from services.agent_worker.settings import WorkerSettings
from shared.contracts.agents import Passage
from shared.history_client import HistoryClient

if TYPE_CHECKING:
    from services.agent_worker.knowledge.vector_index import VectorIndex


def current_retriever(settings: WorkerSettings, history: HistoryClient) -> CurrentRetriever:
    """The retriever that the settings ask for, kept up to date. Run its `run` as a loop; close it.

    Raises as `retriever_of`.
    """
    caches: list[LocalCache] = []

    async def load(version: VersionKey) -> list[Passage]:
        return await history.passages(*version[:3])

    inner = retriever_of(settings, history, load, caches)
    return CurrentRetriever(inner, history, settings.stream_urls[0], caches)


def retriever_of(
    settings: WorkerSettings,
    history: HistoryClient,
    load: Callable[[VersionKey], Awaitable[list[Passage]]],
    caches: list[LocalCache],
) -> Retriever:
    """Words alone, or words and vectors. What it keeps of sets, here or in Qdrant, is added to `caches`.

    Raises ModuleNotFoundError if vectors are asked for and NumPy is missing."""
    directory = Path(settings.knowledge_dir) if settings.knowledge_dir else None
    blobs = IndexBlobs(history)
    words = Fts5Retriever(load, directory, max_bytes=settings.knowledge_cache_bytes, store=blobs)
    caches.append(words)
    if not settings.embeddings_base_url:
        return words
    # NumPy is an extra (requirements-vectors): a worker without embeddings neither needs nor loads it.
    from services.agent_worker.knowledge.hybrid import HybridRetriever
    from services.agent_worker.knowledge.vector_store import VectorStore

    model = settings.embeddings_model
    embeddings = Embeddings(settings.embeddings_base_url, model, settings.embeddings_api_key.get_secret_value())
    reranker = (
        Reranker(settings.rerank_url, settings.rerank_model, settings.rerank_api_key.get_secret_value())
        if settings.rerank_url
        else None
    )
    store_of_vectors = VectorStore(directory, model, max_bytes=settings.knowledge_cache_bytes)
    vectors = _vectors(settings, history)
    caches += [store_of_vectors, vectors]
    return HybridRetriever(words, embeddings, store_of_vectors, load, reranker, vectors, blobs)


def _vectors(settings: WorkerSettings, history: HistoryClient) -> "VectorIndex":
    """Raises ModuleNotFoundError if Qdrant is named and its client is missing."""
    if settings.mongodb_vectors:
        from services.agent_worker.knowledge.history_vectors import HistoryVectors

        return HistoryVectors(history, settings.embeddings_model)
    if not settings.qdrant_url:
        from services.agent_worker.knowledge.vector_index import MemoryVectors

        return MemoryVectors()
    from services.agent_worker.knowledge.qdrant import qdrant_vectors

    return qdrant_vectors(settings.qdrant_url, settings.qdrant_api_key.get_secret_value(), settings.embeddings_model)
