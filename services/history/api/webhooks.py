"""Webhooks over HTTP."""

from typing import Final, get_args

from aiohttp import web

from services.history.api.bodies import read_schema
from services.history.api.nouns import nouns
from services.history.api.paging import bad_cursor, cursor_of, cursor_values, limit_of, page_of
from services.history.api.paths import WEBHOOK, WORKSPACE, path_id, workspace_of
from shared.contracts.errors import ApiError, Code
from shared.contracts.schema import NAME_PATTERN
from shared.contracts.webhooks import ChangeWebhook, DeliveryState, RotateWebhook, StoreWebhook
from shared.ids import is_id
from shared.web.bodies import json_response

_DELIVERY: Final = WEBHOOK + rf"/deliveries/{{event_id:{NAME_PATTERN}}}"
STATES: Final[tuple[DeliveryState, ...]] = get_args(DeliveryState)


async def post_webhook(request: web.Request) -> web.Response:
    created = await nouns(request).webhooks.create(workspace_of(request), await read_schema(request, StoreWebhook))
    return json_response(created.wire(), status=201)


async def get_webhooks(request: web.Request) -> web.Response:
    workspace, before = workspace_of(request), _before(request, "whk")
    found, following = await nouns(request).webhooks.page(workspace, before, limit_of(request))
    return json_response(page_of([each.wire() for each in found], cursor_of([following]) if following else None))


async def get_webhook(request: web.Request) -> web.Response:
    return json_response((await nouns(request).webhooks.get(workspace_of(request), _id(request))).wire())


async def patch_webhook(request: web.Request) -> web.Response:
    order = await read_schema(request, ChangeWebhook)
    return json_response((await nouns(request).webhooks.change(workspace_of(request), _id(request), order)).wire())


async def post_rotation(request: web.Request) -> web.Response:
    order = await read_schema(request, RotateWebhook)
    return json_response((await nouns(request).webhooks.rotate(workspace_of(request), _id(request), order)).wire())


async def delete_webhook(request: web.Request) -> web.Response:
    await nouns(request).webhooks.remove(workspace_of(request), _id(request), request.query.get("actor"))
    return web.Response(status=204)


async def post_test(request: web.Request) -> web.Response:
    return json_response((await nouns(request).webhooks.test(workspace_of(request), _id(request))).wire(), status=202)


async def get_deliveries(request: web.Request) -> web.Response:
    workspace, webhook_id, before = workspace_of(request), _id(request), _before(request, "evt")
    await nouns(request).webhooks.get(workspace, webhook_id)
    page = nouns(request).deliveries.page(workspace, webhook_id, _state(request), before, limit_of(request))
    found, following = await page
    return json_response(page_of([each.wire() for each in found], cursor_of([following]) if following else None))


async def post_replay(request: web.Request) -> web.Response:
    workspace, webhook_id = workspace_of(request), _id(request)
    replayed = await nouns(request).webhooks.replay(workspace, webhook_id, request.match_info.get("event_id"))
    return json_response(replayed.wire(), status=202)


def _id(request: web.Request) -> str:
    return path_id(request, "webhook_id")


def _state(request: web.Request) -> DeliveryState | None:
    given = request.query.get("state")
    for known in STATES:
        if given == known:
            return known
    if given is None:
        return None
    raise ApiError(Code.INVALID_REQUEST, f"state must be one of {', '.join(STATES)}.", param="state")


def _before(request: web.Request, prefix: str) -> str | None:
    values = cursor_values(request, str)
    if values and not is_id(prefix, values[0]):
        raise bad_cursor()
    return values[0] if values else None


ROUTES: Final = (
    web.post(WORKSPACE + "/webhooks", post_webhook),
    web.get(WORKSPACE + "/webhooks", get_webhooks),
    web.get(WEBHOOK, get_webhook),
    web.patch(WEBHOOK, patch_webhook),
    web.delete(WEBHOOK, delete_webhook),
    web.post(WEBHOOK + "/rotate-secret", post_rotation),
    web.post(WEBHOOK + "/test", post_test),
    web.get(WEBHOOK + "/deliveries", get_deliveries),
    web.post(WEBHOOK + "/replay", post_replay),
    web.post(_DELIVERY + "/replay", post_replay),
)
