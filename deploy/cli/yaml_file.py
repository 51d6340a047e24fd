"""Reads the YAML that Parley accepts: mappings, lists and plain values, with the line of each.

Tags, anchors, aliases, merge keys, duplicate keys and second documents are refused. Plain scalars mean what JSON means:
`true`, `false`, `null`, numbers; everything else is text, so `no`, `on` and dates stay as they are written.
"""

import math
import re
from dataclasses import dataclass, field
from typing import Any, Final

import yaml

MAX_BYTES: Final = 1 << 20
MAX_DEPTH: Final = 64
_INTEGER: Final = re.compile(r"[-+]?(?:0|[1-9][0-9]{0,17})")
_NUMBER: Final = re.compile(r"[-+]?(?:[0-9]+\.[0-9]*|\.[0-9]+|[0-9]+(?=[eE]))(?:[eE][-+]?[0-9]{1,3})?")
_CONSTANTS: Final[dict[str, Any]] = {"": None, "~": None, "null": None, "true": True, "false": False}

Path = tuple[str | int, ...]


class YamlError(Exception):
    """What is wrong, and its line, counted from 1."""

    def __init__(self, line: int, message: str) -> None:
        super().__init__(message)
        self.line = line
        self.message = message


@dataclass
class Document:
    """A value, and the line of every key and list entry in it by its path."""

    value: Any = None
    lines: dict[Path, int] = field(default_factory=dict)

    def line_of(self, path: Path) -> int:
        """The line of the deepest part of the path that the file has."""
        while path and path not in self.lines:
            path = path[:-1]
        return self.lines.get(path, 1)


def read_yaml(content: bytes) -> Document:
    """Raises YamlError."""
    if len(content) > MAX_BYTES:
        raise YamlError(1, f"the file has {len(content)} bytes; at most {MAX_BYTES} are allowed")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise YamlError(content.count(b"\n", 0, error.start) + 1, "the file is not UTF-8") from None
    builder = _Builder()
    try:
        for event in yaml.parse(text, Loader=yaml.SafeLoader):
            builder.add(event)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise YamlError(mark.line + 1 if mark else 1, _plain(error, text, mark)) from None
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise YamlError(line, f"the character U+{_ordinal(error.character):04X} is not allowed in YAML") from None
    return builder.document


def _ordinal(character: Any) -> int:
    return character if isinstance(character, int) else ord(character)


def _plain(error: yaml.MarkedYAMLError, text: str, mark: yaml.Mark | None) -> str:
    """The parser's words, and for a tab what to do about it."""
    lines = text.splitlines()
    if mark is not None and mark.line < len(lines):
        line = lines[mark.line]
        if "\t" in line[: len(line) - len(line.lstrip())] or line[mark.column : mark.column + 1] == "\t":
            return "a tab: indent with spaces"
    return (error.problem or "this is not YAML").replace("\n", " ")


class _Builder:
    """Makes the value out of the parser's events. No alias is ever followed, so that no text grows."""

    def __init__(self) -> None:
        self.document = Document()
        self._documents = 0
        self._path: list[str | int] = []
        self._open: list[dict[str, Any] | list[Any]] = []
        self._key: str | None = None

    def add(self, event: yaml.Event) -> None:
        line = event.start_mark.line + 1 if event.start_mark else 1
        if isinstance(event, yaml.DocumentStartEvent):
            self._documents += 1
            if self._documents > 1:
                raise YamlError(line, "a second document: a file holds one agent")
        elif isinstance(event, yaml.AliasEvent):
            raise YamlError(line, f"the alias *{event.anchor}: aliases are not allowed, write the value again")
        elif isinstance(event, yaml.NodeEvent):
            self._refuse_extras(event, line)
            self._node(event, line)
        elif isinstance(event, yaml.CollectionEndEvent):
            self._open.pop()
            if self._path:
                self._path.pop()

    def _refuse_extras(self, event: yaml.NodeEvent, line: int) -> None:
        if event.anchor is not None:
            raise YamlError(line, f"the anchor &{event.anchor}: anchors are not allowed")
        tag = getattr(event, "tag", None)
        if tag is not None:
            raise YamlError(line, f"the tag {tag}: tags are not allowed")

    def _node(self, event: yaml.NodeEvent, line: int) -> None:
        if self._open and isinstance(self._open[-1], dict) and self._key is None:
            self._take_key(self._open[-1], event, line)
        elif isinstance(event, yaml.ScalarEvent):
            self._place(scalar(event.value, is_plain=event.style is None), line)
            if self._path:
                self._path.pop()
        else:
            value: dict[str, Any] | list[Any] = {} if isinstance(event, yaml.MappingStartEvent) else []
            self._place(value, line)
            self._open.append(value)
            if len(self._open) > MAX_DEPTH:
                raise YamlError(line, f"more than {MAX_DEPTH} levels")

    def _take_key(self, mapping: dict[str, Any], event: yaml.NodeEvent, line: int) -> None:
        if not isinstance(event, yaml.ScalarEvent):
            raise YamlError(line, "a list or a mapping as a key: keys are text")
        key: str = event.value
        if key == "<<" and event.style is None:
            raise YamlError(line, "the merge key <<: it is not allowed, write the members again")
        if key in mapping:
            first = self.document.lines[(*self._path, key)]
            raise YamlError(line, f"{key} is there twice, first in line {first}")
        self._key = key
        self.document.lines[(*self._path, key)] = line

    def _place(self, value: Any, line: int) -> None:
        """Puts a value where it belongs and makes its place the current path; the root's path is empty."""
        if not self._open:
            self.document.value = value
            self.document.lines[()] = line
            return
        parent = self._open[-1]
        if isinstance(parent, list):
            self._path.append(len(parent))
            self.document.lines[tuple(self._path)] = line
            parent.append(value)
            return
        assert self._key is not None
        self._path.append(self._key)
        parent[self._key] = value
        self._key = None


def scalar(text: str, *, is_plain: bool) -> Any:
    """The value of a scalar. Only a plain one (without quotes) can be anything but text."""
    if not is_plain:
        return text
    if text in _CONSTANTS:
        return _CONSTANTS[text]
    if _INTEGER.fullmatch(text):
        return int(text)
    if _NUMBER.fullmatch(text) and math.isfinite(number := float(text)):
        return number
    return text
