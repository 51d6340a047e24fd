"""Whether a reader's schema accepts what a writer's schema allows: one line for each place where it does not.

It knows the schemas that pydantic makes of our contracts, and those of `bodies.py`. Bounds of numbers and lengths are
not compared: they are rules for authors, and values that were accepted once are read as they are.
"""

from collections.abc import Iterator
from typing import Any, Final

_ANY: Final[dict[str, Any]] = {}
_REF: Final = "#/$defs/"

Schema = dict[str, Any]
Schemas = dict[str, Schema]


class Comparison:
    """`readers` and `writers` hold the schemas of all models by their names.

    `readers_are_older`: a member that they know may be absent from what is written only if its writer never had it. So
    one that is no longer written is told, although it has a default: the reader would take that for the truth. One that
    the readers' own release never writes is marked as `unwritten`.
    """

    def __init__(self, readers: Schemas, writers: Schemas, *, readers_are_older: bool) -> None:
        self._readers = readers
        self._writers = writers
        self._readers_are_older = readers_are_older
        self._under_way = set[tuple[str, str]]()

    def faults(self, model: str) -> list[str]:
        if model not in self._writers:
            return [f"{model}: the writer no longer has it; keep it under its name"]
        if model not in self._readers:
            return [f"{model}: the reader no longer has it; keep it under its name"]
        self._under_way = {(model, model)}
        return list(self._compare(self._readers[model], self._writers[model], model))

    def _compare(self, reader: Schema, writer: Schema, place: str) -> Iterator[str]:
        # Each model is compared at its own name.
        if "$ref" in writer and any(each.get("$ref") == writer["$ref"] for each in _alternatives(reader)):
            return
        pair = (reader.get("$ref", ""), writer.get("$ref", ""))
        if all(pair):
            names = (pair[0].removeprefix(_REF), pair[1].removeprefix(_REF))
            if names in self._under_way:
                return
            self._under_way.add(names)
        reader, writer = self._resolved(reader, self._readers), self._resolved(writer, self._writers)
        alternatives = _alternatives(writer)
        if len(alternatives) > 1:
            for each in alternatives:
                yield from self._compare(reader, each, place)
            return
        yield from self._one(reader, alternatives[0], place)

    def _one(self, reader: Schema, writer: Schema, place: str) -> Iterator[str]:
        """`writer` has no alternatives."""
        choices = _alternatives(reader)
        if len(choices) > 1:
            told = [list(self._compare(each, writer, place)) for each in choices]
            if all(told):
                yield min(told, key=len)[0] if len(told) == 1 else f"{place}: {_name(writer)} is none of what is read"
            return
        reader = choices[0]
        if not _fits(reader, writer):
            yield f"{place}: {_name(writer)} is written, {_name(reader)} is read"
            return
        yield from self._members(reader, writer, place)
        if isinstance(reader.get("items"), dict):
            yield from self._compare(reader["items"], writer.get("items") or _ANY, f"{place}[]")

    def _members(self, reader: Schema, writer: Schema, place: str) -> Iterator[str]:
        written = writer.get("properties", {})
        if not written and isinstance(writer.get("additionalProperties"), dict):
            yield from self._compare(
                reader.get("propertyNames", _ANY), writer.get("propertyNames", _ANY), f"{place} keys"
            )
            if isinstance(reader.get("additionalProperties"), dict):
                yield from self._compare(reader["additionalProperties"], writer["additionalProperties"], f"{place}{{}}")
            return
        for name, schema in reader.get("properties", {}).items():
            if name in written:
                sent = written[name] if "nulls" in writer else _without_null(written[name])
                yield from self._compare(schema, sent, f"{place}.{name}")
                if name in reader.get("required", ()) and not self._is_always_written(name, writer):
                    yield f"{place}.{name}: the reader needs it, the writer may leave it out"
            elif name in reader.get("required", ()):
                yield f"{place}.{name}: the reader needs it, the writer does not write it"
            elif self._readers_are_older and not schema.get("unwritten"):
                yield f"{place}.{name}: the reader has a default for it, the writer no longer writes it"
        if reader.get("additionalProperties") is False:
            unknown = [name for name in written if name not in reader.get("properties", {})]
            yield from (
                f"{place}.{name}: the reader refuses it, as all members that it does not know" for name in unknown
            )

    def _is_always_written(self, name: str, writer: Schema) -> bool:
        """Most writers leave out members with the value null (`Schema.wire`). `nulls` tells of those that do not."""
        if "nulls" in writer:
            return writer["nulls"] == "written" or name in writer.get("required", ())
        schema = self._resolved(writer["properties"][name], self._writers)
        return all(each.get("type") != "null" for each in _alternatives(schema))

    def _resolved(self, schema: Schema, known: Schemas) -> Schema:
        return known[schema["$ref"].removeprefix(_REF)] if "$ref" in schema else schema


def _alternatives(schema: Schema) -> list[Schema]:
    return list(schema.get("anyOf") or schema.get("oneOf") or [schema])


def _without_null(schema: Schema) -> Schema:
    rest = [each for each in _alternatives(schema) if each.get("type") != "null"]
    return rest[0] if len(rest) == 1 else {"anyOf": rest} if rest else schema


def _fits(reader: Schema, writer: Schema) -> bool:
    """The types and the listed values. A schema that says neither takes everything."""
    kind, wrote = reader.get("type"), writer.get("type")
    if kind is None and not _values(reader):
        return True
    if kind is not None and kind != wrote and (kind, wrote) != ("number", "integer"):
        return False
    if reader.get("format") == "date-time" and writer.get("format") != "date-time":
        return False
    listed = _values(reader)
    return not listed or (bool(_values(writer)) and _values(writer) <= listed)


def _values(schema: Schema) -> frozenset[Any]:
    return frozenset([schema["const"]] if "const" in schema else schema.get("enum", ()))


def _name(schema: Schema) -> str:
    values = sorted(map(str, _values(schema)))
    return f"{schema.get('type', 'anything')}{' ' + '|'.join(values) if values else ''}"
