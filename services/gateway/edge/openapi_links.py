"""Pure: links of the OpenAPI document, from a reply that has an id to the routes that take it."""

import re
from collections.abc import Sequence
from typing import Any, Final

from services.gateway.edge.operation_names import operation_id
from services.gateway.edge.route import Reply, Route

_NAMES: Final = re.compile(r"\{(\w+)\}")


def path_names(path: str) -> list[str]:
    """The parameters of a path, in their order."""
    return _NAMES.findall(path)


def links_of(route: Route[Any], replies: tuple[Reply, ...], routes: Sequence[Route[Any]]) -> dict[str, Any]:
    """By the operation id of the route that is linked to. Empty if the replies give nothing.

    A route that needs more than the reply and its own path know is not linked.
    """
    links: dict[str, Any] = {}
    for reply in replies:
        for path, member in reply.gives.items():
            known = {name: f"$request.path.{name}" for name in path_names(route.path)}
            known[path_names(path)[-1]] = f"$response.body#/{'data/' if reply.envelope else ''}{member}"
            for target in routes:
                names = path_names(target.path)
                if target is not route and _is_at(path, target.path) and known.keys() >= set(names):
                    links[operation_id(target)] = {
                        "operationId": operation_id(target),
                        "parameters": {name: known[name] for name in names},
                    }
    return links


def _is_at(path: str, target: str) -> bool:
    return target == path or target.startswith((path + "/", path + ":"))
