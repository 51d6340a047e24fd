"""Prints the schemas of all contracts of the tree that it runs in: what is read, and what is written.

It runs in trees of earlier releases too, so it uses what they have: `python - ARGUMENTS < schemas.py`, where these are
the two of `schemas` as JSON.
"""

import importlib
import inspect
import json
import pkgutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

import shared.contracts
from shared.contracts.jobs import RunTurn
from shared.contracts.schema import PublicRequest, Schema

_SAID = ("description", "title", "examples")


def contracts() -> list[type[BaseModel]]:
    """All models of `shared.contracts` but those that only the public API has."""
    names = sorted(module.name for module in pkgutil.iter_modules(shared.contracts.__path__))
    modules = [importlib.import_module(f"shared.contracts.{name}") for name in names]
    found = {
        value
        for module in modules
        for value in vars(module).values()
        if inspect.isclass(value) and issubclass(value, Schema) and not issubclass(value, PublicRequest)
    }
    return sorted((model for model in found if model is not Schema), key=lambda model: model.__name__)


def schemas(others: Sequence[str] = (), nulls: Mapping[str, str] = MappingProxyType({})) -> dict[str, Any]:
    """`{"read": {name: schema}, "written": {name: schema}}`; what is written as it is read is told once.

    `others`: further models, by their modules. `nulls`: the names of models whose writers write null as well, of all
    members ("written") or of those that were given ("given").
    """
    models = [*contracts(), *_found(others)]
    read = _schemas(models, "validation")
    written = {
        name: _with_formats(each, read.get(name)) | ({"nulls": nulls[name]} if name in nulls else {})
        for name, each in _schemas(models, "serialization").items()
    }
    return {"read": read, "written": {name: each for name, each in written.items() if each != read.get(name)}}


def _found(names: Sequence[str]) -> Iterator[type[BaseModel]]:
    """Without those that this tree lacks."""
    for name in names:
        module, _, model = name.partition(":")
        try:
            yield getattr(importlib.import_module(module), model)
        except (ImportError, AttributeError):
            continue


def _schemas(models: Sequence[type[BaseModel]], mode: Any) -> dict[str, Any]:
    _, told = models_json_schema([(model, mode) for model in models], by_alias=True)
    found = {name: _without_words(schema) for name, schema in sorted(told["$defs"].items())}
    return {**found, RunTurn.__name__: _job()}


def _job() -> dict[str, Any]:
    """A job is a named tuple; its members travel by their names."""
    kinds = {str: "string", int: "integer"}
    members = {name: {"type": kinds[kind]} for name, kind in RunTurn.__annotations__.items()}
    needed = [name for name in RunTurn._fields if name not in RunTurn._field_defaults]
    return {"type": "object", "properties": members, "required": needed}


def _with_formats(written: Any, read: Any) -> Any:
    """Times have a serializer of their own, whose schema says no more than that it writes text."""
    if isinstance(written, dict) and isinstance(read, dict):
        told = {name: _with_formats(each, read.get(name)) for name, each in written.items()}
        is_text = written.get("type") == read.get("type") == "string"
        return {**told, "format": read["format"]} if is_text and "format" in read else told
    if isinstance(written, list) and isinstance(read, list) and len(written) == len(read):
        return [_with_formats(each, other) for each, other in zip(written, read, strict=True)]
    return written


def _without_words(value: Any, *, names: bool = False) -> Any:
    """Without what is for people. `names`: the keys are members' names, which may be any word."""
    if isinstance(value, dict):
        return {
            name: _without_words(each, names=name in ("properties", "$defs") and not names)
            for name, each in value.items()
            if names or name not in _SAID
        }
    return [_without_words(each) for each in value] if isinstance(value, list) else value


if __name__ == "__main__":
    print(json.dumps(schemas(*(json.loads(each) for each in sys.argv[1:]))))
