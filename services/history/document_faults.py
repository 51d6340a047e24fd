"""What is wrong with a document that a client sent, as `errors` of a problem document."""

from collections.abc import Iterator
from itertools import islice
from typing import Any

from pydantic import BaseModel, ValidationError

from shared.nearest_name import nearest_name

Fault = dict[str, str]


def faults_of(error: ValidationError, model: type[BaseModel], *, whole: str, at_most: int | None = None) -> list[Fault]:
    """One entry per fault, with its field and what to change. `whole`: the field of a fault of the whole document."""
    return [*islice(_faults(error, model, whole), at_most)]


def _faults(error: ValidationError, model: type[BaseModel], whole: str) -> Iterator[Fault]:
    for fault in error.errors(include_input=False):
        field = ".".join(str(part) for part in fault["loc"]) or whole
        if fault["type"] == "extra_forbidden":
            nearest = nearest_name(str(fault["loc"][-1]), _members_of(model))
            hint = f" Did you mean {nearest}?" if nearest else ""
            yield {"field": field, "message": f"is not a known member.{hint}"}
        else:
            yield {"field": field, "message": fault["msg"].removeprefix("Value error, ")}


def _members_of(model: type[BaseModel]) -> set[str]:
    schema: dict[str, Any] = model.model_json_schema(by_alias=True)
    names = set(schema["properties"])
    for definition in schema.get("$defs", {}).values():
        names |= set(definition.get("properties", ()))
    return names
