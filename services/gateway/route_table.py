"""The one route table: it serves requests, checks scopes and generates the OpenAPI document."""

from functools import cache
from typing import Any, Final

from aiohttp import web

from services.gateway import faces
from services.gateway.api import (
    agent_schema,
    agents,
    audit,
    budgets,
    checks,
    end_users,
    feedback,
    gaps,
    keys,
    knowledge,
    preview,
    publishable_keys,
    regenerate,
    session_events,
    session_export,
    sessions,
    turns,
    usage,
    versions,
    webhooks,
    widget_challenges,
    widget_earlier,
    widget_settings,
    widget_visitors,
)
from services.gateway.api.event_schemas import SESSION_EVENT, TURN_EVENT
from services.gateway.api.examples import EXAMPLES, REPLY_EXAMPLES
from services.gateway.call import Call, Route
from services.gateway.completions import handler as completions
from services.gateway.completions import listing, models, stored
from services.gateway.edge import openapi
from services.gateway.edge.route import Reply
from shared.contracts.turns import Timing, Usage
from shared.web.bodies import json_response

BASE: Final = "/api/v1"


@cache
def openapi_document(server: str = "/") -> dict[str, Any]:
    """`server` is the base URL that clients use. The result is cached and shared, so callers must not change it."""
    bodies, events = EXAMPLES | REPLY_EXAMPLES, (TURN_EVENT, SESSION_EVENT)
    return openapi.document(ROUTES, BASE, server, contracts=(Usage, Timing), named=events, examples=bodies)


async def document(call: Call) -> web.StreamResponse:
    return json_response(openapi_document(call.dependencies.settings.public_url or "/"))


ROUTES: Final[tuple[Route, ...]] = (
    *session_export.ROUTES,
    *sessions.ROUTES,
    *turns.ROUTES,
    *regenerate.ROUTES,
    *session_events.ROUTES,
    *agents.ROUTES,
    *versions.ROUTES,
    *gaps.ROUTES,
    *knowledge.ROUTES,
    *preview.ROUTES,
    *keys.ROUTES,
    *publishable_keys.ROUTES,
    *feedback.ROUTES,
    *widget_challenges.ROUTES,
    *widget_earlier.ROUTES,
    *widget_visitors.ROUTES,
    *widget_settings.ROUTES,
    *audit.ROUTES,
    *end_users.ROUTES,
    *usage.ROUTES,
    *budgets.ROUTES,
    *webhooks.ROUTES,
    *agent_schema.ROUTES,
    *checks.ROUTES,
    *completions.ROUTES,
    *listing.ROUTES,
    *stored.ROUTES,
    *models.ROUTES,
    *faces.ROUTES,
    Route(
        method="GET",
        path="/openapi.json",
        serve=document,
        scope=None,
        summary="This document",
        replies={200: (Reply("OpenAPI 3.1", {"type": "object"}, envelope=False),)},
    ),
)
