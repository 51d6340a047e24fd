from collections.abc import Iterator
from typing import Any

from services.gateway.edge.openapi_links import path_names
from services.gateway.edge.operation_names import operation_id
from services.gateway.route_table import ROUTES, openapi_document

# Named by clients or operators, by a page of a list, or by another protocol's own messages.
GIVEN_ELSEWHERE = {"messageId", "earlierId", "endUserId", "subject", "model", "chatId", "taskId"}
PATHS = {operation_id(route): route.path for route in ROUTES}


def links() -> Iterator[tuple[str, dict[str, Any], dict[str, Any]]]:
    """The operation that is linked from, its response and the link."""
    for item in openapi_document()["paths"].values():
        for operation in item.values():
            for response in operation["responses"].values():
                for name, link in response.get("links", {}).items():
                    assert name == link["operationId"]
                    yield operation["operationId"], response, link


def resolved(schema: dict[str, Any], pointer: str) -> dict[str, Any] | None:
    """The schema of a member that is always there."""
    components = openapi_document()["components"]["schemas"]
    for member in [None, *pointer.split("/")[1:]]:
        if member is not None:
            if member not in schema.get("required", ()):
                return None
            schema = schema["properties"][member]
        if "$ref" in schema:
            schema = components[schema["$ref"].rpartition("/")[2]]
    return schema


def test_links_fill_the_whole_path_from_what_their_operation_knows() -> None:
    count = 0
    for source, response, link in links():
        assert link["operationId"] in PATHS, source
        assert list(link["parameters"]) == path_names(PATHS[link["operationId"]]), (source, link)
        assert any(value.startswith("$response.body#/") for value in link["parameters"].values()), (source, link)
        for value in link["parameters"].values():
            kind, _, place = value.partition("#" if "#" in value else "path.")
            if kind == "$request.":
                assert place in path_names(PATHS[source]), (source, link)
                continue
            schema = resolved(response["content"]["application/json"]["schema"], place)
            assert schema is not None, f"{source} does not always have {place}"
            assert schema["type"] in ("string", "integer"), (source, place)
        count += 1
    assert count > 60


def test_every_id_that_a_reply_makes_leads_on() -> None:
    given = {
        name
        for _, _, link in links()
        for name, value in link["parameters"].items()
        if value.startswith("$response.body")
    }
    assert given == {name for path in PATHS.values() for name in path_names(path)} - GIVEN_ELSEWHERE


def test_a_session_leads_to_its_turns_and_a_turn_to_its_end() -> None:
    pairs = {(source, link["operationId"]) for source, _, link in links()}
    assert {("createSession", "postMessage"), ("postMessage", "cancelTurn"), ("createAgent", "publishAgent")} <= pairs
    assert ("createKey", "changeAgentPublishableKey") not in pairs
