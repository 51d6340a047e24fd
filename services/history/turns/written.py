"""What a turn's log holds of its answer: for a turn that history ends itself."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Final, NamedTuple

from redis.exceptions import ResponseError

from services.history.turns.record import TurnRecord
from shared.citations import citations_of, without_texts, without_unknown
from shared.contracts.frames import BEGINNING, StreamFrame, data_of
from shared.contracts.sessions import PassageName, Retrieval, TurnMessage
from shared.ids import new_id
from shared.log import get_logger
from shared.run_log.reader import RunLogs, frames_of_last_attempt, written_text

log = get_logger()

LOG_PAGE: Final = 256


class Written(NamedTuple):
    """The text of the last attempt, and the searches that it made in its agent's knowledge."""

    text: str = ""
    searches: tuple[Retrieval, ...] = ()


async def frames_of(logs: RunLogs, record: TurnRecord) -> list[StreamFrame]:
    """The whole log. One that has another type in Redis, or is not there, has nothing. Raises RedisError or OSError."""
    if record.first_claim_at is None:
        return []
    frames: list[StreamFrame] = []
    page, after = LOG_PAGE, BEGINNING
    while page == LOG_PAGE:
        try:
            rows = await logs.read(record.workspace, record.id, after, LOG_PAGE)
        except ResponseError as error:
            if not str(error).startswith("WRONGTYPE"):
                raise
            log.exception("log_unreadable", turn_id=record.id)
            return []
        frames += rows
        page, after = len(rows), (rows[-1].id or after) if rows else after
    return frames


def written_of(frames: Sequence[StreamFrame]) -> Written:
    return Written(written_text(frames), _searches(frames))


def _searches(frames: Iterable[StreamFrame]) -> tuple[Retrieval, ...]:
    last = frames_of_last_attempt(frames)
    return tuple(Retrieval.model_validate(data_of(frame.data)) for frame in last if frame.event == "kb_retrieval")


def partial_answer(written: Written, now: datetime) -> TurnMessage | None:
    """The message as its worker would have ended it: with its searches by name, and its markers mapped or removed."""
    passages = {
        passage.marker: PassageName.model_validate(dict(passage))
        for search in written.searches
        for passage in search.passages
        if passage.marker is not None
    }
    text = without_unknown(written.text, passages) if passages else written.text
    if not text:
        return None
    return TurnMessage(
        id=new_id("msg"),
        role="assistant",
        content=text,
        status="partial",
        knowledge=tuple(map(without_texts, written.searches)) or None,
        citations=citations_of(text, passages) or None,
        created_at=now,
    )
