"""The one route table: requests are served, scopes checked and the OpenAPI document made from it."""

from typing import Any, Final

from services.gateway.api import sessions, turns
from services.gateway.completions import handler as completions
from services.gateway.completions import models
from services.gateway.completions import stored as stored_completions
from services.gateway.completions.request import ChatCompletion
from services.gateway.edge import openapi
from services.gateway.edge.openapi_schemas import (
    CANCELLED_COMPLETION,
    CHAT_COMPLETION,
    CHUNKS,
    DELETED,
    DELETED_COMPLETION,
    EVENTS,
    MESSAGE,
    MODEL,
    MODELS,
    STORED_COMPLETION,
    STORED_COMPLETIONS,
    STORED_MESSAGES,
    TURN_ACCEPTED,
    TURN_RESULT,
)
from services.gateway.edge.route import Answer, Call, Param, Route
from shared.contracts.errors import Code
from shared.contracts.keys import Scope
from shared.contracts.sessions import Session
from shared.contracts.turns import Turn
from shared.web.bodies import json_response

BASE: Final = "/api/v1"
_STREAM: Final = "text/event-stream"

LIMIT: Final = Param("limit", {"type": "integer", "minimum": 1, "maximum": 200, "default": 50}, "how many at most")
SHORT_LIMIT: Final = Param("limit", {**LIMIT.schema, "default": 20}, LIMIT.description)
CURSOR: Final = Param("cursor", {"type": "string", "pattern": "^[!-~]{1,500}$"}, "`nextCursor` of the page before")
ORDER: Final = Param("order", {"enum": ["asc", "desc"], "default": "asc"}, "oldest or newest first")
IDEMPOTENCY: Final = Param(
    "Idempotency-Key",
    {"type": "string", "pattern": "^[!-~]{1,200}$"},
    "a repeat with the same key and body gets the same turn; with another body, 422",
    "header",
)
PREFER: Final = Param(
    "Prefer", {"type": "string"}, "`respond-async`: 202 at once, the answer by following the turn", "header"
)
_FRAME_ID: Final = {"type": "string", "pattern": "^[1-9][0-9]{0,9}-[1-9][0-9]{0,9}$"}
LAST_EVENT_ID: Final = Param(
    "Last-Event-ID", _FRAME_ID, "the last frame that was received; the stream goes on after it", "header"
)
REPEAT_FROM: Final = Param(
    "Last-Event-ID",
    _FRAME_ID,
    "on a repeat with the same Idempotency-Key: the stream goes on after this frame",
    "header",
)
LAST_EVENT_ID_QUERY: Final = Param("lastEventId", _FRAME_ID, "as `Last-Event-ID`, for browsers")
INCLUDE: Final = Param("include", {"type": "string", "enum": ["reasoning"]}, "also stream the model's reasoning")
_COMPLETION_ID: Final = {"type": "string", "pattern": "^chatcmpl-[0-9a-hjkmnp-tv-z]{26}$"}
METADATA: Final = Param(
    "metadata",
    {"type": "object", "additionalProperties": {"type": "string"}, "maxProperties": 16},
    "`metadata[key]=value`, any number of pairs: only what bears all of them",
    style="deepObject",
)
_BODY: Final = (Code.INVALID_JSON, Code.REQUEST_TIMEOUT, Code.PAYLOAD_TOO_LARGE, Code.UNSUPPORTED_MEDIA_TYPE)
_OWN_BODY: Final = (*_BODY, Code.VALIDATION_FAILED)
_TURN_ENDS: Final = (Code.TURN_FAILED, Code.UPSTREAM_ERROR, Code.TURN_TIMEOUT)


async def document(call: Call) -> Any:
    return json_response(openapi.document(ROUTES, BASE, call.dependencies.settings.public_url or "/"))


_SESSIONS: Final = (
    Route(
        method="POST",
        path="/chat/sessions",
        serve=sessions.create,
        scope=Scope.CHAT_WRITE,
        summary="Create a session",
        request=sessions.CreateSession,
        answers={201: (Answer("the session", Session),)},
        errors=(*_OWN_BODY, Code.AGENT_NOT_FOUND, Code.NO_PUBLISHED_VERSION),
    ),
    Route(
        method="GET",
        path="/chat/sessions",
        serve=sessions.list_all,
        scope=Scope.CHAT_READ,
        summary="List sessions, newest first",
        params=(
            Param("agentId", {"type": "string"}, "only this agent's"),
            Param("status", {"enum": ["active", "ended"]}, "only these"),
            LIMIT,
            CURSOR,
        ),
        answers={200: (Answer("a page of sessions", Session, paged=True),)},
    ),
    Route(
        method="GET",
        path="/chat/sessions/{sessionId}",
        serve=sessions.get,
        scope=Scope.CHAT_READ,
        summary="Get a session",
        answers={200: (Answer("the session", Session),)},
        errors=(Code.SESSION_NOT_FOUND,),
    ),
    Route(
        method="DELETE",
        path="/chat/sessions/{sessionId}",
        serve=sessions.delete,
        scope=Scope.CHAT_WRITE,
        summary="Delete a session and its transcript",
        answers={200: (Answer("it is gone", DELETED),)},
        errors=(*_OWN_BODY, Code.SESSION_NOT_FOUND),
    ),
    Route(
        method="POST",
        path="/chat/sessions/{sessionId}/end",
        serve=sessions.end,
        scope=Scope.CHAT_WRITE,
        summary="End a session; an active turn is cancelled, its partial answer kept",
        body_optional=True,
        answers={200: (Answer("the session", Session),)},
        errors=(*_OWN_BODY, Code.SESSION_NOT_FOUND),
    ),
    Route(
        method="GET",
        path="/chat/sessions/{sessionId}/messages",
        serve=sessions.messages,
        scope=Scope.CHAT_READ,
        summary="List messages",
        params=(LIMIT, CURSOR, ORDER),
        answers={200: (Answer("a page of messages", MESSAGE, paged=True),)},
        errors=(Code.SESSION_NOT_FOUND,),
    ),
)

_TURNS: Final = (
    Route(
        method="POST",
        path="/chat/sessions/{sessionId}/messages",
        serve=turns.post_message,
        scope=Scope.CHAT_WRITE,
        summary="Post a message; the answer as a stream of events when `stream`, else as one document",
        request=turns.PostMessage,
        params=(IDEMPOTENCY, PREFER, REPEAT_FROM, INCLUDE),
        answers={
            200: (
                Answer("the finished turn", TURN_RESULT),
                Answer("the turn's frames", EVENTS, envelope=False, media_type=_STREAM),
            ),
            202: (Answer("accepted; `Location` is the turn", TURN_ACCEPTED),),
        },
        errors=(
            *_OWN_BODY,
            *_TURN_ENDS,
            Code.SESSION_NOT_FOUND,
            Code.SESSION_ENDED,
            Code.TURN_IN_PROGRESS,
            Code.IDEMPOTENCY_MISMATCH,
            Code.GONE,
        ),
    ),
    Route(
        method="GET",
        path="/chat/sessions/{sessionId}/turns/{turnId}",
        serve=turns.get,
        scope=Scope.CHAT_READ,
        summary="Get a turn",
        answers={200: (Answer("the turn", Turn),)},
        errors=(Code.TURN_NOT_FOUND, Code.SESSION_NOT_FOUND),
    ),
    Route(
        method="GET",
        path="/chat/sessions/{sessionId}/turns/{turnId}/events",
        serve=turns.follow_turn,
        scope=Scope.CHAT_READ,
        summary="Follow or resume a turn's stream",
        params=(LAST_EVENT_ID, LAST_EVENT_ID_QUERY, INCLUDE),
        answers={
            200: (Answer("the turn's frames", EVENTS, envelope=False, media_type=_STREAM),),
            204: (Answer("the client has all of them"),),
        },
        errors=(Code.TURN_NOT_FOUND, Code.SESSION_NOT_FOUND),
    ),
    Route(
        method="POST",
        path="/chat/sessions/{sessionId}/turns/{turnId}/cancel",
        serve=turns.cancel,
        scope=Scope.CHAT_WRITE,
        summary="Cancel a turn; what was answered so far is kept",
        body_optional=True,
        answers={200: (Answer("the turn as it stands; it may still be running", Turn),)},
        errors=(*_OWN_BODY, Code.TURN_NOT_FOUND, Code.SESSION_NOT_FOUND),
    ),
)

_OPENAI: Final = (
    Route(
        method="POST",
        path="/chat/completions",
        serve=completions.create,
        scope=Scope.CHAT_WRITE,
        summary="OpenAI-compatible completion; `model` is an agent's id",
        request=ChatCompletion,
        params=(IDEMPOTENCY, REPEAT_FROM),
        answers={
            200: (
                Answer("the completion", CHAT_COMPLETION, envelope=False),
                Answer("chunks, then `[DONE]`", CHUNKS, envelope=False, media_type=_STREAM),
            )
        },
        errors=(*_BODY, *_TURN_ENDS, Code.MODEL_NOT_FOUND, Code.IDEMPOTENCY_MISMATCH, Code.GONE),
        openai=True,
    ),
    Route(
        method="GET",
        path="/chat/completions",
        serve=stored_completions.list_all,
        scope=Scope.CHAT_READ,
        summary="List stored completions",
        params=(
            Param("model", {"type": "string"}, "only this agent's"),
            METADATA,
            SHORT_LIMIT,
            ORDER,
            Param("after", _COMPLETION_ID, "the last completion of the page before"),
        ),
        answers={200: (Answer("a page of completions", STORED_COMPLETIONS, envelope=False),)},
        openai=True,
    ),
    Route(
        method="POST",
        path="/chat/completions/{completionId}",
        serve=stored_completions.update,
        scope=Scope.CHAT_WRITE,
        summary="Replace a stored completion's metadata",
        request=stored_completions.UpdateCompletion,
        answers={200: (Answer("the completion", STORED_COMPLETION, envelope=False),)},
        errors=(*_BODY, Code.NOT_FOUND),
        openai=True,
    ),
    Route(
        method="DELETE",
        path="/chat/completions/{completionId}",
        serve=stored_completions.delete,
        scope=Scope.CHAT_WRITE,
        summary="Erase a stored completion",
        answers={200: (Answer("it is gone", DELETED_COMPLETION, envelope=False),)},
        errors=(*_OWN_BODY, Code.NOT_FOUND),
        openai=True,
    ),
    Route(
        method="GET",
        path="/chat/completions/{completionId}",
        serve=stored_completions.get,
        scope=Scope.CHAT_READ,
        summary="Get a stored completion; with `stream=true`, follow or resume one (an extension)",
        params=(
            Param("stream", {"enum": ["true", "false"]}, "follow the chunks instead"),
            Param("starting_after", _FRAME_ID, "`parley.cursor` of the last chunk that was received"),
            Param("include_usage", {"enum": ["true", "false"]}, "end the stream with a usage chunk"),
        ),
        answers={
            200: (
                Answer("the completion", STORED_COMPLETION, envelope=False),
                Answer("chunks, then `[DONE]`", CHUNKS, envelope=False, media_type=_STREAM),
            )
        },
        errors=(Code.NOT_FOUND, Code.GONE),
        openai=True,
    ),
    Route(
        method="GET",
        path="/chat/completions/{completionId}/messages",
        serve=stored_completions.messages,
        scope=Scope.CHAT_READ,
        summary="The caller's messages of a stored completion",
        params=(
            SHORT_LIMIT,
            ORDER,
            Param("after", {"type": "string"}, "the id of the last message of the page before"),
        ),
        answers={200: (Answer("a page of messages", STORED_MESSAGES, envelope=False),)},
        errors=(Code.NOT_FOUND, Code.GONE),
        openai=True,
    ),
    Route(
        method="POST",
        path="/chat/completions/{completionId}/cancel",
        serve=stored_completions.cancel,
        scope=Scope.CHAT_WRITE,
        summary="Cancel a running completion (an extension)",
        body_optional=True,
        answers={200: (Answer("as it stands; it may still be running", CANCELLED_COMPLETION, envelope=False),)},
        errors=(*_OWN_BODY, Code.NOT_FOUND, Code.GONE),
        openai=True,
    ),
    Route(
        method="POST",
        path="/responses",
        serve=completions.refuse_responses,
        scope=Scope.CHAT_WRITE,
        summary="Always 400: the Responses API is not available",
        answers={},
        openai=True,
    ),
    Route(
        method="GET",
        path="/models",
        serve=models.list_all,
        scope=Scope.CHAT_READ,
        summary="Published agents, as models",
        answers={200: (Answer("all of them", MODELS, envelope=False),)},
        openai=True,
    ),
    Route(
        method="GET",
        path="/models/{model}",
        serve=models.get,
        scope=Scope.CHAT_READ,
        summary="A published agent, as a model",
        answers={200: (Answer("the model", MODEL, envelope=False),)},
        errors=(Code.MODEL_NOT_FOUND,),
        openai=True,
    ),
)

ROUTES: Final[tuple[Route, ...]] = (
    *_SESSIONS,
    *_TURNS,
    *_OPENAI,
    Route(
        method="GET",
        path="/openapi.json",
        serve=document,
        scope=None,
        summary="This document",
        answers={200: (Answer("OpenAPI 3.1", {"type": "object"}, envelope=False),)},
    ),
)
