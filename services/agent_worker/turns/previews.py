"""Answers previews of retrieval, which authors ask for: the same search and the same prompt as in a turn."""

import asyncio
import time
from typing import Final

from redis.exceptions import RedisError

from services.agent_worker.knowledge.retriever import MAX_QUERY, Retriever, VersionKey
from services.agent_worker.metrics import PREVIEWS
from services.agent_worker.turns.prompt import passages_block
from services.agent_worker.turns.retrieval import retrieved
from shared.backoff import jittered
from shared.citations import NumberedPassages, good_enough
from shared.contracts.agents import Knowledge
from shared.contracts.errors import ApiError, Code
from shared.contracts.previews import KnowledgePreview, PreviewedPassage, PreviewOrder, PreviewReply
from shared.contracts.sessions import Retrieval, RetrievedPassage
from shared.history_client import HistoryClient
from shared.log import get_logger
from shared.previews.exchange import PreviewExchange
from shared.tasks import BackgroundLoops, end_tasks

log = get_logger()

# Turns come first: a worker answers so many previews at once, and others wait for another worker.
AT_ONCE: Final = 2
OUTAGE_S: Final = 1.0
STALE_S: Final = 30.0


class PreviewServer:
    def __init__(self, history: HistoryClient, retriever: Retriever, exchange: PreviewExchange) -> None:
        self.loops = BackgroundLoops()
        self._history = history
        self._retriever = retriever
        self._exchange = exchange
        self._answering: set[asyncio.Task[None]] = set()

    def start(self) -> None:
        self.loops.start("previews", self.serve(), stale_after_s=STALE_S)

    async def close(self) -> None:
        await self.loops.end()
        await end_tasks(self._answering)
        await self._exchange.aclose()

    async def serve(self) -> None:
        """Until it is cancelled."""
        while True:
            if len(self._answering) >= AT_ONCE:
                await asyncio.wait(self._answering, return_when=asyncio.FIRST_COMPLETED)
            try:
                order = await self._exchange.next()
            except (RedisError, OSError) as error:
                log.debug("previews_unreachable", error=type(error).__name__)
                await asyncio.sleep(jittered(OUTAGE_S))
                continue
            finally:
                # A queue that is away is told by another check.
                self.loops.succeeded("previews")
            if order is not None:
                task = asyncio.create_task(self._answer(order))
                self._answering.add(task)
                task.add_done_callback(self._answering.discard)

    async def _answer(self, order: PreviewOrder) -> None:
        try:
            async with asyncio.timeout(order.deadline_ms / 1000 - time.time()):
                reply = await self._reply(order)
            await self._exchange.answer(order, reply)
            PREVIEWS.labels("answered" if reply.preview is not None else "failed").inc()
        except TimeoutError:
            PREVIEWS.labels("late").inc()
        except (RedisError, OSError) as error:
            log.warning("preview_not_answered", error=type(error).__name__)

    async def _reply(self, order: PreviewOrder) -> PreviewReply:
        try:
            return PreviewReply(preview=await self._preview(order))
        except ApiError as error:
            return PreviewReply(problem=error.problem())
        except Exception:
            log.exception("preview_failed", agent_id=order.agent_id)
            return PreviewReply(problem=ApiError(Code.INTERNAL_ERROR).problem())

    async def _preview(self, order: PreviewOrder) -> KnowledgePreview:
        key = VersionKey(order.workspace, order.agent_id, order.version)
        version = await self._history.agent_version(*key[:3])
        found = await retrieved(self._retriever, key, order.query, order.top_k)
        return preview_of(order, version.config.knowledge, found)


def preview_of(order: PreviewOrder, knowledge: Knowledge, found: list[RetrievedPassage]) -> KnowledgePreview:
    used = Retrieval(query=order.query[:MAX_QUERY], passages=good_enough(found, knowledge.min_score))
    if knowledge.citations:
        used = NumberedPassages().numbered(used)
    rest = [passage for passage in found if not good_enough([passage], knowledge.min_score)]
    return KnowledgePreview(
        query=order.query,
        version=order.version,
        passages=(*(_shown(each, used=True) for each in used.passages), *(_shown(each, used=False) for each in rest)),
        prompt=passages_block(used) if used.passages else "",
    )


def _shown(passage: RetrievedPassage, *, used: bool) -> PreviewedPassage:
    return PreviewedPassage.model_validate({**dict(passage), "used": used})
