"""JSON schemas that come from outside: whether one is usable, and a check of values against it.

No schema can make the check slow or make it read anything.
"""

from collections.abc import Callable, Iterator
from typing import Any, Final

import jsonschema
import referencing
from jsonschema.protocols import Validator

_COMPLAINT: Final = 500
UNUSABLE: Final = "The schema is not usable."


def _accept(*_: Any) -> Iterator[Any]:
    return iter(())


# Schemas and values come from outside. A regular expression of a schema can run for hours over a crafted value, and
# Python's engine has no time limit, so these keywords are not checked.
_Checker: Final = jsonschema.validators.extend(  # type: ignore[no-untyped-call]
    jsonschema.Draft202012Validator, {"pattern": _accept, "patternProperties": _accept}
)


def problem_of(schema: Any) -> str | None:
    """Why a value is no JSON schema (2020-12) of an object; None when it is one."""
    if not isinstance(schema, dict) or schema.get("type", "object") != "object":
        return "The schema must describe an object."
    try:
        jsonschema.Draft202012Validator.check_schema(schema)
    except jsonschema.SchemaError as error:
        return f"The schema is wrong at {error.json_path}: {error.message[:_COMPLAINT]}"
    except RecursionError:
        return "The schema is nested too deeply."
    return None


def checker(schema: dict[str, Any]) -> Callable[[dict[str, Any]], str | None]:
    """Checks values against one schema: what is wrong, for whoever wrote the value, or None. Compile once, use often.

    A schema may refer to its own parts only: without a registry jsonschema would fetch others from wherever they say.
    """
    validator: Validator = _Checker(schema, registry=referencing.Registry())

    def check(value: dict[str, Any]) -> str | None:
        try:
            error = jsonschema.exceptions.best_match(validator.iter_errors(value))
        except (
            referencing.exceptions.Unresolvable,
            jsonschema.exceptions.UnknownType,
            RecursionError,
            ValueError,
            TypeError,
            AttributeError,
        ):
            return UNUSABLE
        return None if error is None else f"Refused at {error.json_path}: {error.message[:_COMPLAINT]}"

    return check
