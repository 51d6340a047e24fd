import re
from typing import Any

import orjson
import pytest
from jsonschema import Draft202012Validator
from openapi_spec_validator import validate

from services.gateway import faces
from services.gateway.api.examples import EXAMPLES, REPLY_EXAMPLES
from services.gateway.call import Route
from services.gateway.edge.operation_names import operation_id, tag_of
from services.gateway.route_table import BASE, ROUTES, openapi_document
from shared.contracts.frame_types import FRAME_TYPES, FrameType
from shared.contracts.keys import Scope
from shared.contracts.session_events import SESSION_EVENT_TYPES

OPEN = {"/openapi.json", "/schemas/agent.json"}


def the_document() -> dict[str, Any]:
    return openapi_document()


def test_document_is_valid_openapi() -> None:
    validate(the_document())


def test_document_describes_every_route_once() -> None:
    described = {(method.upper(), path) for path, item in the_document()["paths"].items() for method in item}
    assert described == {(route.method, BASE + route.path) for route in ROUTES}
    assert len(described) == len(ROUTES)


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: f"{route.method} {route.path}")
def test_every_route_declares_the_scope_that_its_method_calls_for(route: Route) -> None:
    if route.path in OPEN:
        assert route.scope is None
    elif route in faces.ROUTES:
        # Whatever its path is named after, a face is a way to chat.
        assert route.scope is (Scope.CHAT_READ if route.method == "GET" else Scope.CHAT_WRITE)
    elif route.path.startswith("/chat/widget/"):
        assert route.scope is Scope.CHAT_PUBLIC
    elif "keys" in route.path or "identity-secrets" in route.path:
        assert route.scope is Scope.KEYS_WRITE
    elif route.path.startswith("/end-user"):
        assert route.scope is Scope.ENDUSERS_WRITE
    elif route.path == "/audit":
        assert route.scope is Scope.AUDIT_READ
    elif route.path.startswith(("/usage", "/budgets")):
        assert route.scope is (Scope.USAGE_READ if route.method == "GET" else Scope.BUDGETS_WRITE)
    elif route.path.startswith("/webhooks"):
        assert route.scope is Scope.WEBHOOKS_WRITE
    elif route.path.endswith("/knowledge/preview"):
        # It changes nothing: a POST because a question does not belong into an address.
        assert route.scope is Scope.AGENTS_READ
    else:
        # The first noun of the path names the scope's family: a new family needs a row here.
        family = {"chat": "chat", "models": "chat", "responses": "chat", "agents": "agents"}[route.path.split("/")[1]]
        assert route.scope is Scope(f"{family}:{'read' if route.method == 'GET' else 'write'}")


def test_every_failure_is_the_one_problem() -> None:
    # Of a face, also those that only its own protocol has.
    own = {(operation_id(route), str(status)) for route in faces.ROUTES for status in route.replies}
    for item in the_document()["paths"].values():
        for operation in item.values():
            for status, response in operation["responses"].items():
                is_problem = "application/problem+json" in response.get("content", {})
                if int(status) >= 400 and (is_problem or (operation["operationId"], status) not in own):
                    schema = response["content"]["application/problem+json"]["schema"]
                    assert schema == {"$ref": "#/components/schemas/Problem"}


def test_operation_ids_are_unique() -> None:
    names = [operation["operationId"] for item in the_document()["paths"].values() for operation in item.values()]
    assert len(names) == len(set(names))


def operations() -> list[dict[str, Any]]:
    return [operation for item in the_document()["paths"].values() for operation in item.values()]


def test_operation_ids_are_words_that_a_generator_makes_functions_of() -> None:
    names = {operation["operationId"] for operation in operations()}
    assert {name for name in names if not re.fullmatch(r"[a-z]+([A-Z][a-z]+)*", name)} == set()
    # Promises: a changed id renames a function in every generated client.
    assert {"createSession", "postMessage", "followTurn", "cancelTurn", "getTurn", "listSessionMessages"} <= names
    assert {"createAgent", "listAgents", "changeAgent", "publishAgent", "listAgentVersions", "createKey"} <= names


def test_every_operation_has_one_tag_that_the_document_describes() -> None:
    described = {tag["name"] for tag in the_document()["tags"]}
    assert {tag for operation in operations() for tag in operation["tags"]} == described
    assert all(len(operation["tags"]) == 1 for operation in operations())
    # A noun without a row in the table of tags is taken for a face.
    assert [route.path for route in OURS if tag_of(route) == "Protocols"] == []


def test_the_document_begins_with_what_a_reader_needs_first() -> None:
    document = the_document()
    assert [tag["name"] for tag in document["tags"]][:4] == ["Sessions", "OpenAI", "Agents", "Knowledge"]
    assert next(iter(document["paths"])) == "/api/v1/chat/sessions"
    found = [operation["tags"][0] for operation in operations()]
    assert [*dict.fromkeys(found)] == [tag["name"] for tag in document["tags"]], "the operations are in the same order"
    assert found == sorted(found, key=list(dict.fromkeys(found)).index), "no tag comes twice"


# A face's bodies are another protocol's, which its own clients know.
OURS = [route for route in ROUTES if route not in faces.ROUTES]
MODELS = {route.request.__name__: route.request for route in OURS if route.request is not None}


def test_every_request_body_has_an_example_that_its_model_accepts() -> None:
    # A new body needs a row in services/gateway/api/examples.py.
    assert set(MODELS) - set(EXAMPLES) == set()
    assert set(EXAMPLES) - set(MODELS) == set()
    for name, example in EXAMPLES.items():
        MODELS[name].model_validate_json(orjson.dumps(example))


def test_the_examples_of_replies_are_what_their_models_accept() -> None:
    replies = [reply.schema for route in OURS for variants in route.replies.values() for reply in variants]
    models = {schema.__name__: schema for schema in replies if isinstance(schema, type)}
    for name, example in REPLY_EXAMPLES.items():
        models[name].model_validate(example)


def test_every_event_and_named_schema_has_an_example_that_it_describes() -> None:
    document = the_document()
    examined = 0
    for name, schema in document["components"]["schemas"].items():
        if re.fullmatch(r"(Turn|Session)\w+Event", name):
            assert schema["examples"], name
        for example in schema.get("examples", []):
            whole = schema | {"components": document["components"]}
            Draft202012Validator(whole).validate(example)
            examined += 1
    assert examined > 30


def test_every_body_is_a_schema_with_a_name() -> None:
    ours = {operation_id(route) for route in OURS}
    for operation in operations():
        if operation["operationId"] not in ours:
            continue
        bodies = [*operation["responses"].values(), operation.get("requestBody", {})]
        schemas = [content["schema"] for body in bodies for content in body.get("content", {}).values()]
        unnamed = [schema for schema in schemas if "$ref" not in schema and schema != {"type": "object"}]
        assert unnamed == [], operation["operationId"]


def test_every_reference_is_to_a_schema_of_the_document() -> None:
    text = orjson.dumps(the_document()).decode()
    referred = set(re.findall(r'"#/components/schemas/(\w+)"', text))
    assert referred <= set(the_document()["components"]["schemas"])


@pytest.mark.parametrize(("union", "kinds"), [("TurnEvent", FRAME_TYPES), ("SessionEvent", SESSION_EVENT_TYPES)])
def test_events_are_told_apart_by_their_name_and_have_the_members_of_the_table(
    union: str, kinds: dict[str, FrameType]
) -> None:
    schemas = the_document()["components"]["schemas"]
    assert schemas[union]["discriminator"]["propertyName"] == "event"
    mapping = schemas[union]["discriminator"]["mapping"]
    assert set(kinds) <= set(mapping)
    for name, kind in kinds.items():
        event = schemas[mapping[name].rsplit("/", 1)[1]]
        assert event["properties"]["event"] == {"const": name}
        data = schemas[event["properties"]["data"]["$ref"].rsplit("/", 1)[1]]
        assert set(data["properties"]) == {member.removesuffix("?") for member in kind.members}
        assert set(data["required"]) == {member for member in kind.members if not member.endswith("?")}
