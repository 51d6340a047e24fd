"""Webhooks: where a workspace's own servers are told of events, and what became of each delivery."""

from typing import Final, get_args

from aiohttp import web

from services.gateway.api.schemas import DELETED
from services.gateway.call import Call, Route
from services.gateway.edge.params import CURSOR, LIMIT, OWN_BODY
from services.gateway.edge.replies import data_response, page_response
from services.gateway.edge.route import Param, Reply
from services.gateway.edge.validation import json_body, no_body, page_query
from shared.contracts.errors import Code
from shared.contracts.keys import Scope
from shared.contracts.webhooks import (
    ChangeWebhook,
    CreateWebhook,
    Delivery,
    DeliveryState,
    NewWebhook,
    PatchWebhook,
    Replayed,
    RotateWebhook,
    RotateWebhookSecret,
    StoreWebhook,
    Webhook,
)
from shared.ids import new_id

_ONE: Final = "/webhooks/{webhookId}"
_STATE: Final = Param("state", {"enum": list(get_args(DeliveryState))}, "only deliveries in this state")


async def create(call: Call) -> web.StreamResponse:
    body = await json_body(call.request, CreateWebhook)
    order = StoreWebhook(
        id=new_id("whk"),
        url=body.url,
        events=body.events,
        description=body.description,
        actor=call.principal.key_id,
    )
    created = await call.dependencies.history.create_webhook(call.workspace, order)
    location = f"{call.request.path}/{created.id}"
    return data_response(created.wire(), status=201, headers={"Location": location})


async def list_all(call: Call) -> web.StreamResponse:
    return page_response(await call.dependencies.history.webhooks(call.workspace, page_query(call.request.query)))


async def get(call: Call) -> web.StreamResponse:
    return data_response((await call.dependencies.history.webhook(call.workspace, webhook_id(call))).wire())


async def change(call: Call) -> web.StreamResponse:
    wanted = webhook_id(call)
    body = await json_body(call.request, PatchWebhook)
    given = {name: getattr(body, name) for name in body.model_fields_set}
    order = ChangeWebhook(**given, actor=call.principal.key_id)
    return data_response((await call.dependencies.history.change_webhook(call.workspace, wanted, order)).wire())


async def rotate(call: Call) -> web.StreamResponse:
    wanted = webhook_id(call)
    body = await json_body(call.request, RotateWebhookSecret)
    order = RotateWebhook(grace_s=body.grace_s, actor=call.principal.key_id)
    return data_response((await call.dependencies.history.rotate_webhook(call.workspace, wanted, order)).wire())


async def delete(call: Call) -> web.StreamResponse:
    wanted = webhook_id(call)
    await no_body(call.request)
    await call.dependencies.history.remove_webhook(call.workspace, wanted, call.principal.key_id)
    return data_response({"id": wanted, "deleted": True})


async def test(call: Call) -> web.StreamResponse:
    wanted = webhook_id(call)
    await no_body(call.request)
    return data_response((await call.dependencies.history.test_webhook(call.workspace, wanted)).wire(), status=202)


async def deliveries(call: Call) -> web.StreamResponse:
    wanted = webhook_id(call)
    query = page_query(call.request.query, state=get_args(DeliveryState))
    return page_response(await call.dependencies.history.deliveries(call.workspace, wanted, query))


async def replay_dead(call: Call) -> web.StreamResponse:
    wanted = webhook_id(call)
    await no_body(call.request)
    return data_response((await call.dependencies.history.replay(call.workspace, wanted)).wire(), status=202)


async def replay(call: Call) -> web.StreamResponse:
    wanted, event = webhook_id(call), call.path_id("eventId", "evt", Code.NOT_FOUND)
    await no_body(call.request)
    return data_response((await call.dependencies.history.replay(call.workspace, wanted, event)).wire(), status=202)


def webhook_id(call: Call) -> str:
    return call.path_id("webhookId", "whk", Code.NOT_FOUND)


ROUTES: Final[tuple[Route, ...]] = (
    Route(
        method="POST",
        path="/webhooks",
        serve=create,
        scope=Scope.WEBHOOKS_WRITE,
        summary="Create a webhook; its signing secret is shown this once",
        request=CreateWebhook,
        replies={201: (Reply("the webhook with its secret", NewWebhook, gives={_ONE: "id"}),)},
        errors=OWN_BODY,
    ),
    Route(
        method="GET",
        path="/webhooks",
        serve=list_all,
        scope=Scope.WEBHOOKS_WRITE,
        summary="List webhooks, newest first",
        params=(LIMIT, CURSOR),
        replies={200: (Reply("a page of webhooks", Webhook, paged=True),)},
    ),
    Route(
        method="GET",
        path=_ONE,
        serve=get,
        scope=Scope.WEBHOOKS_WRITE,
        summary="Get a webhook",
        replies={200: (Reply("the webhook", Webhook),)},
        errors=(Code.NOT_FOUND,),
    ),
    Route(
        method="PATCH",
        path=_ONE,
        serve=change,
        scope=Scope.WEBHOOKS_WRITE,
        summary="Change a webhook, or enable one that was disabled",
        request=PatchWebhook,
        replies={200: (Reply("the webhook", Webhook),)},
        errors=(*OWN_BODY, Code.NOT_FOUND),
    ),
    Route(
        method="DELETE",
        path=_ONE,
        serve=delete,
        scope=Scope.WEBHOOKS_WRITE,
        summary="Delete a webhook with its deliveries",
        replies={200: (Reply("it is gone", DELETED),)},
        errors=(*OWN_BODY, Code.NOT_FOUND),
    ),
    Route(
        method="POST",
        path=f"{_ONE}/rotate-secret",
        serve=rotate,
        scope=Scope.WEBHOOKS_WRITE,
        summary="Replace the signing secret; deliveries carry both signatures for the grace",
        request=RotateWebhookSecret,
        replies={200: (Reply("the webhook with its new secret", NewWebhook),)},
        errors=(*OWN_BODY, Code.NOT_FOUND),
    ),
    Route(
        method="POST",
        path=f"{_ONE}/test",
        serve=test,
        scope=Scope.WEBHOOKS_WRITE,
        summary="Send a `webhook.test` event, once; its delivery tells what the receiver answered",
        replies={202: (Reply("the delivery", Delivery, gives={_ONE + "/deliveries/{eventId}": "id"}),)},
        errors=(*OWN_BODY, Code.NOT_FOUND),
    ),
    Route(
        method="GET",
        path=f"{_ONE}/deliveries",
        serve=deliveries,
        scope=Scope.WEBHOOKS_WRITE,
        summary="List deliveries, newest first",
        params=(_STATE, LIMIT, CURSOR),
        replies={200: (Reply("a page of deliveries", Delivery, paged=True),)},
        errors=(Code.NOT_FOUND,),
    ),
    Route(
        method="POST",
        path=f"{_ONE}/replay",
        serve=replay_dead,
        scope=Scope.WEBHOOKS_WRITE,
        summary="Send dead letters again, the oldest 1000 first",
        replies={202: (Reply("how many", Replayed),)},
        errors=(*OWN_BODY, Code.NOT_FOUND),
    ),
    Route(
        method="POST",
        path=f"{_ONE}/deliveries/{{eventId}}/replay",
        serve=replay,
        scope=Scope.WEBHOOKS_WRITE,
        summary="Send one delivery again, under the same id",
        replies={202: (Reply("how many", Replayed),)},
        errors=(*OWN_BODY, Code.NOT_FOUND),
    ),
)
