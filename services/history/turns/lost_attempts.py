"""What an attempt has used that ended without a word: estimated from what is left of it, when it is given up.

Its worker was killed, cut off or stopped, and nobody else knows what the upstream has billed. Known are the question
with its context, which every attempt sends again, and the run log, which has what the attempt wrote.
"""

from collections.abc import Sequence
from typing import Final

import orjson

from services.history.agents.versions import Versions
from services.history.mongo.client import Database
from services.history.mongo.filters import Document
from services.history.turns.context import Contexts
from services.history.turns.record import WITHOUT_ANSWER, TurnRecord
from services.history.turns.token_rates import model_of
from services.history.turns.written import frames_of
from services.history.usage.entries import lost_uses, priced
from shared.contracts.agents import AgentConfig
from shared.contracts.errors import ApiError
from shared.contracts.frames import StreamFrame, data_of
from shared.contracts.prices import PriceTable
from shared.contracts.turns import ModelUse, Usage
from shared.log import get_logger
from shared.run_log.reader import RunLogs
from shared.tokens import estimated_tokens, message_tokens

log = get_logger()

_TOOLS: Final = frozenset({"tool_call", "tool_result"})


class LostAttempts:
    def __init__(
        self, database: Database, logs: RunLogs, versions: Versions, contexts: Contexts, prices: PriceTable
    ) -> None:
        self._turns = database.turns
        self._logs = logs
        self._versions = versions
        self._contexts = contexts
        self._prices = prices

    async def untold(self, record: TurnRecord, frames: Sequence[StreamFrame] | None = None) -> list[Document] | None:
        """What the record's attempt has used, estimated. None: it has told that itself, or there was none.

        `frames`: the turn's log, where it has been read. Raises ApiError, RedisError or OSError while a store is away.
        """
        if str(record.attempt) in record.spent or record.attempt < 1 or record.check is not None:
            return None
        if frames is None:
            frames = await frames_of(self._logs, record)
        written = [frame for frame in frames if frame.id is not None and frame.id.attempt == record.attempt]
        try:
            version = await self._versions.read(record.workspace, record.agent_id, record.agent_version)
        except ApiError as error:
            if error.status != 404:
                raise
            return None  # A draft that is gone with its agent.
        prompt = await self._prompt_tokens(record, version.config)
        choice, usage = version.config.model, estimated_use(prompt, written)
        log.info("lost_use_estimated", turn_id=record.id, attempt=record.attempt, tokens=usage.total_tokens)
        return priced([ModelUse(upstream=choice.upstream, model=choice.name, usage=usage)], self._prices)

    async def note(self, record: TurnRecord) -> None:
        """Before the next attempt starts. What the lost one still tells by itself replaces the estimate."""
        if (uses := await self.untold(record)) is not None:
            name = f"spent.{record.attempt}"
            mine = {"_id": record.id, "workspace": record.workspace, "active": True, name: None}
            await self._turns.update(mine, {"$set": {name: uses}})

    async def at_end(self, record: TurnRecord, frames: Sequence[StreamFrame]) -> tuple[Document, list[Document]]:
        """For a turn that history ends: the members that its document lacks, and all that the turn has used."""
        known, uses = lost_uses(record.spent, record.attempt + 1), await self.untold(record, frames)
        return ({}, known) if uses is None else ({f"spent.{record.attempt}": uses}, [*known, *uses])

    async def _prompt_tokens(self, record: TurnRecord, config: AgentConfig) -> int:
        where = {"_id": record.id, "workspace": record.workspace}
        row = await self._turns.one(where, WITHOUT_ANSWER) if not record.input else None
        asked = TurnRecord.model_validate(row).input if row is not None else record.input
        earlier = orjson.loads(
            await self._contexts.before(
                record.workspace,
                record.session_id,
                record.n,
                config.limits,
                model_of(config),
                guards_input=config.guards_input,
            )
        )
        texts = [message.get("content") or "" for message in earlier] + [message.content or "" for message in asked]
        return sum(message_tokens((text,)) for text in (config.instructions, *texts) if text)


def estimated_use(prompt: int, written: Sequence[StreamFrame]) -> Usage:
    """Of an attempt with these frames. `prompt`: tokens of its first model call, without passages.

    Each round of tools had a model call before it, and the next call sent what was said up to then again.
    """
    sent, received, rounds, before = prompt, 0, 0, ""
    for frame in written:
        data = data_of(frame.data)
        match frame.event:
            case "delta" | "reasoning":
                received += estimated_tokens(data["text"])
            case "kb_retrieval":
                sent += sum(estimated_tokens(passage["text"]) for passage in data["passages"])
            case "tool_call":
                received += estimated_tokens(data["name"]) + estimated_tokens(data["arguments"])
            case "tool_result":
                sent += estimated_tokens(data["result"])
        if before == "tool_result" and frame.event != "tool_result":
            rounds += 1
        before = frame.event if frame.event in _TOOLS else ""
    calls = 1 + rounds + (before == "tool_result")
    sent *= calls
    return Usage(prompt_tokens=sent, completion_tokens=received, total_tokens=sent + received, estimated=True)
