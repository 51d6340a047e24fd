"""What is wrong with a document that a client sent, as `errors` of a problem document."""

from collections.abc import Iterator
from functools import cache
from itertools import islice
from typing import Any, Final

from pydantic import BaseModel, ValidationError

from shared.contracts.faults import own_faults
from shared.nearest_name import nearest_name

Fault = dict[str, str]
MAX_FAULTS: Final = 20
MAX_NAME: Final = 64


def faults_of(error: ValidationError, model: type[BaseModel], *, whole: str) -> list[Fault]:
    """One entry per fault, at most MAX_FAULTS, with its field and what to change.

    `whole`: the field of a fault of the whole document.
    """
    return [*islice(_faults(error, model, whole), MAX_FAULTS)]


def _faults(error: ValidationError, model: type[BaseModel], whole: str) -> Iterator[Fault]:
    for fault in own_faults(error.errors(include_input=False)):
        field = ".".join(str(part) for part in fault["loc"]) or whole
        if fault["type"] == "extra_forbidden":
            # Longer than any name, so near to none; and comparing takes time by its length.
            nearest = nearest_name(str(fault["loc"][-1])[:MAX_NAME], _members_of(model))
            hint = f" Did you mean {nearest}?" if nearest else ""
            yield {"field": field, "message": f"is not a known member.{hint}"}
        else:
            yield {"field": field, "message": fault["msg"].removeprefix("Value error, ")}


@cache
def _members_of(model: type[BaseModel]) -> frozenset[str]:
    """Making a schema takes milliseconds, and a document may have ten thousand unknown members."""
    schema: dict[str, Any] = model.model_json_schema(by_alias=True)
    names = set(schema["properties"])
    for definition in schema.get("$defs", {}).values():
        names |= set(definition.get("properties", ()))
    return frozenset(names)
