"""All routes of the internal API, but health and metrics."""

from collections.abc import Sequence
from typing import Final

from aiohttp import web

from services.history.api import (
    agents,
    budgets,
    checks,
    claims,
    completions,
    drafts,
    end_users,
    feedback,
    gaps,
    indexes,
    keys,
    knowledge,
    sessions,
    turns,
    usage,
    vectors,
    webhooks,
    widget,
    workspaces,
)

ROUTES: Final[Sequence[web.RouteDef]] = (
    *workspaces.ROUTES,
    *keys.ROUTES,
    *agents.ROUTES,
    *drafts.ROUTES,
    *widget.ROUTES,
    *feedback.ROUTES,
    *checks.ROUTES,
    *gaps.ROUTES,
    *knowledge.ROUTES,
    *indexes.ROUTES,
    *vectors.ROUTES,
    *sessions.ROUTES,
    *turns.ROUTES,
    *claims.ROUTES,
    *completions.ROUTES,
    *end_users.ROUTES,
    *usage.ROUTES,
    *budgets.ROUTES,
    *webhooks.ROUTES,
)
