from typing import Any

import pytest
from openapi_spec_validator import validate

from services.gateway import faces
from services.gateway.call import Route
from services.gateway.route_table import BASE, ROUTES, openapi_document
from shared.contracts.keys import Scope

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
    elif route.path.endswith("/knowledge/preview"):
        # It changes nothing: a POST because a question does not belong into an address.
        assert route.scope is Scope.AGENTS_READ
    else:
        # The first noun of the path names the scope's family: a new family needs a row here.
        family = {"chat": "chat", "models": "chat", "responses": "chat", "agents": "agents"}[route.path.split("/")[1]]
        assert route.scope is Scope(f"{family}:{'read' if route.method == 'GET' else 'write'}")


def test_every_failure_is_the_one_problem() -> None:
    for item in the_document()["paths"].values():
        for operation in item.values():
            for status, response in operation["responses"].items():
                if int(status) >= 400:
                    schema = response["content"]["application/problem+json"]["schema"]
                    assert schema == {"$ref": "#/components/schemas/Problem"}


def test_operation_ids_are_unique() -> None:
    names = [operation["operationId"] for item in the_document()["paths"].values() for operation in item.values()]
    assert len(names) == len(set(names))
