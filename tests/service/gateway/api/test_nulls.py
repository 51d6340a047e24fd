"""null in the body of each PATCH route removes a value, or is refused: it is never passed over."""

from collections.abc import AsyncIterator
from typing import Any, Final

import pytest

from services.gateway.call import Route
from services.gateway.route_table import ROUTES
from tests.service.gateway.edge.workspace_scene import Scene, scene
from tests.service.gateway.paths import path_with

PATCHES: Final = [route for route in ROUTES if route.method == "PATCH"]
# What null removes. An agent's other members are those of its draft, from which a merge patch removes them.
REMOVABLE: Final = {
    "/keys/{keyId}": {"expiresAt", "rateLimitRpm", "maxConcurrentTurns"},
    "/agents/{agentId}/publishable-keys/{keyId}": {"expiresAt", "rateLimitRpm", "maxConcurrentTurns", "dailyTokens"},
}


@pytest.fixture
async def stage(mongodb_uri: str, redis_url: str) -> AsyncIterator[Scene]:
    async with scene(mongodb_uri, redis_url) as prepared:
        yield prepared


async def answer(stage: Scene, route: Route, body: Any) -> tuple[int, dict[str, Any]]:
    ids = dict(stage.own.ids)
    if route.path.startswith("/keys/"):
        ids["keyId"] = ids["secretKeyId"]
    headers = {"Authorization": f"Bearer {stage.own.all_scopes.secret}"}
    url = stage.base + path_with(route.path, **ids)
    async with stage.client.patch(url, json=body, headers=headers) as response:
        return response.status, await response.json()


async def test_null_removes_what_can_be_removed_and_is_refused_elsewhere(stage: Scene) -> None:
    assert len(PATCHES) >= 5
    for route in PATCHES:
        assert route.request is not None
        for member in route.request.model_json_schema(by_alias=True)["properties"]:
            status, body = await answer(stage, route, {member: None})
            place = f"PATCH {route.path} {member}"
            if member in REMOVABLE.get(route.path, ()):
                assert (status, body["data"].get(member)) == (200, None), place
            else:
                assert status == 422, place
                assert [fault["field"] for fault in body["errors"]] == [member], place


async def test_a_change_of_nothing_is_no_fault(stage: Scene) -> None:
    for route in PATCHES:
        assert (await answer(stage, route, {}))[0] == 200, route.path


async def test_an_unknown_event_is_the_only_fault_of_its_list(stage: Scene) -> None:
    (route,) = [route for route in PATCHES if route.path.startswith("/webhooks")]
    status, body = await answer(stage, route, {"events": ["turn.complete"]})
    assert (status, [fault["field"] for fault in body["errors"]]) == (422, ["events[0]"])
    status, body = await answer(stage, route, {"events": []})
    assert (status, [fault["field"] for fault in body["errors"]]) == (422, ["events"])
