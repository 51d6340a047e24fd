"""The retriever that the settings ask for."""

from collections.abc import Awaitable, Callable
from pathlib import Path

from services.agent_worker.knowledge.endpoints import Embeddings, Reranker
from services.agent_worker.knowledge.fts5 import Fts5Retriever
from services.agent_worker.knowledge.retriever import Retriever, VersionKey
from services.agent_worker.settings import WorkerSettings
from shared.contracts.agents import Passage


def retriever_of(settings: WorkerSettings, load: Callable[[VersionKey], Awaitable[list[Passage]]]) -> Retriever:
    """Words alone, or words and vectors. Raises ModuleNotFoundError if vectors are asked for and NumPy is missing."""
    directory = Path(settings.knowledge_dir) if settings.knowledge_dir else None
    words = Fts5Retriever(load, directory, max_bytes=settings.knowledge_cache_bytes)
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
    store = VectorStore(directory, model, max_bytes=settings.knowledge_cache_bytes)
    return HybridRetriever(words, embeddings, store, load, reranker)
