"""Another answer in a turn's place: to the same message, or to an edited one. It begins a branch of the session."""

import hashlib
from datetime import UTC, datetime
from typing import Annotated, Final

from aiohttp import web
from pydantic import Field, StringConstraints

from services.gateway.api.turns import ANSWERS, INCLUDE, REFUSALS, answered, includes_reasoning, stored_turn
from services.gateway.call import Call, Route
from services.gateway.edge.params import IDEMPOTENCY, OWN_BODY, PREFER
from services.gateway.edge.validation import Metadata, canonical, idempotency_key, json_body
from services.gateway.streaming.cursor import REPEAT_FROM, last_event_id
from services.gateway.streaming.failed_turn import TURN_ENDS
from shared.contracts.errors import ApiError, Code
from shared.contracts.keys import Scope
from shared.contracts.schema import PublicRequest
from shared.contracts.sessions import TurnMessage
from shared.contracts.turns import AdmitTurn
from shared.ids import new_id


class Regenerate(PublicRequest):
    content: Annotated[str, StringConstraints(min_length=1, max_length=100_000, pattern=r"\S")] | None = Field(
        default=None, description="the edited message, not blank; without it the turn's own message is answered again"
    )
    stream: bool = False
    metadata: Metadata = Field(default_factory=dict)

    def digest(self, turn_id: str) -> str:
        asked = {"insteadOf": turn_id, "content": self.content, "metadata": self.metadata}
        return hashlib.sha256(canonical(asked)).hexdigest()


async def regenerate(call: Call) -> web.StreamResponse:
    key, after = idempotency_key(call.request), last_event_id(call.request)
    body = await json_body(call.request, Regenerate)
    stored = await stored_turn(call, text=True)
    if stored.erased:
        raise ApiError(Code.GONE)
    now = datetime.now(UTC)
    content = [body.content] if body.content is not None else [message.content for message in stored.input]
    order = AdmitTurn(
        turn_id=new_id("trn"),
        session_id=stored.turn.session_id,
        instead_of=stored.turn.id,
        messages=tuple(TurnMessage(id=new_id("msg"), role="user", content=text, created_at=now) for text in content),
        metadata=body.metadata,
        idempotency_key=key,
        body_digest=body.digest(stored.turn.id),
        reasoning=includes_reasoning(call.request),
    )
    return await answered(call, order, after, stream=body.stream)


ROUTES: Final[tuple[Route, ...]] = (
    Route(
        method="POST",
        path="/chat/sessions/{sessionId}/turns/{turnId}/regenerate",
        serve=regenerate,
        scope=Scope.CHAT_WRITE,
        visitor=True,
        summary="Answer a turn's message again, or an edited one in its place",
        request=Regenerate,
        params=(IDEMPOTENCY, PREFER, REPEAT_FROM, INCLUDE),
        replies=ANSWERS,
        errors=(*OWN_BODY, *TURN_ENDS, *REFUSALS, Code.TURN_NOT_FOUND),
    ),
)
