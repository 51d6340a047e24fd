"""The file of a release's schemas: its models, and the bodies of the calls of history by their names."""

import json
from collections.abc import Mapping
from typing import Any, Final

from tests.contracts.bodies import by_class, models_in
from tests.contracts.calls import CALLS, NULLS
from tests.contracts.schemas import schemas

Schemas = dict[str, Any]


def _class(model: str) -> str:
    return model.partition(":")[2]


# Models of bodies that are not in `shared.contracts`.
OTHERS: Final = sorted(
    {model for row in CALLS for body in (row.request, row.reply) for model in models_in(body) if "." in model}
)
NULLS_BY_CLASS: Final = {_class(model): kind for model, kind in NULLS.items()}
# Of `schemas.py`, where it runs in another tree.
ARGUMENTS: Final = (json.dumps(OTHERS), json.dumps(NULLS_BY_CLASS))


def today() -> dict[str, Schemas]:
    return with_calls(schemas(OTHERS, NULLS_BY_CLASS))


def with_calls(told: Mapping[str, Any]) -> dict[str, Schemas]:
    """With the bodies of the calls whose models the tree has."""
    bodies = {
        f"{row.name} {kind}": body
        for row in CALLS
        for kind, body in (("request", row.request), ("reply", row.reply))
        if body is not None and all(_class(model) in told["read"] for model in models_in(body))
    }
    return {**told, "calls": {name: by_class(body) for name, body in bodies.items()}}


def text(found: Mapping[str, Schemas]) -> str:
    """One schema a line."""
    kinds = []
    for kind, models in found.items():
        rows = ",\n".join(
            f"  {json.dumps(name)}: {json.dumps(schema, sort_keys=True)}" for name, schema in models.items()
        )
        kinds.append(f" {json.dumps(kind)}: {{\n{rows}\n }}")
    return "{\n" + ",\n".join(kinds) + "\n}\n"


def both(told: Mapping[str, Schemas]) -> tuple[Schemas, Schemas]:
    """What is read and what is written, by the names of models and calls."""
    read, written, calls = told["read"], told["written"], told["calls"]
    readers = {name: _with_unwritten(each, written.get(name, each)) for name, each in read.items()}
    return {**readers, **calls}, {**read, **written, **calls}


def _with_unwritten(read: Any, written: Any) -> Any:
    """Marks members that the release itself never writes."""
    if "properties" not in read:
        return read
    absent = read["properties"].keys() - written["properties"]
    members = {name: {**each, "unwritten": name in absent} for name, each in read["properties"].items()}
    return {**read, "properties": members} if absent else read
