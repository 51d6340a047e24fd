"""`agent.yaml` as `parley` reads it: checked against its schema, each fault with its line and the nearest right key."""

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path as FilePath
from typing import Any, Final

from pydantic import ValidationError

from deploy.cli.exits import CliError, Exit
from deploy.cli.yaml_file import Document, Path, YamlError, read_yaml
from shared.contracts.agent_file import AgentFile, agent_file_schema
from shared.contracts.agents import AgentConfig
from shared.contracts.checks import CheckSuite

MAX_SHOWN: Final = 20
# What stands in the file beside the draft's members.
BESIDE_DRAFT: Final = ("slug", "checks")
_FROM_ENVIRONMENT: Final = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
# The members of a draft that may hold secrets.
_HOLDERS: Final = ("tools", "guardrails")
_SECRET_PLACES: Final = ("secretHeaders", "signingSecret")


@dataclass(frozen=True, kw_only=True)
class AgentSource:
    """`draft` has the values of secrets in it: it goes to the server and is never shown. `shown` has none of them.

    `checks` None: the file does not speak of them.
    """

    file: FilePath
    slug: str
    draft: dict[str, Any]
    shown: dict[str, Any]
    checks: list[dict[str, Any]] | None
    document: Document

    @property
    def has_secrets(self) -> bool:
        return self.draft != self.shown

    def fault(self, field: str, message: str) -> str:
        """A fault that the server found, with its line: `agent.yaml:7: tools.0.url: …`."""
        path = tuple(int(part) if part.isdigit() else part for part in re.split(r"[.\[\]]+", field) if part)
        return f"{self.file}:{self.document.line_of(_known_part(self.document, path))}: {field}: {message}"


def read_source(file: FilePath, environment: Mapping[str, str] = os.environ) -> AgentSource:
    """Raises CliError with one line per fault."""
    try:
        document = read_yaml(file.read_bytes())
    except OSError as error:
        hint = ": `parley agents init` writes one, -f names another" if isinstance(error, FileNotFoundError) else ""
        raise CliError(f"{file}: {error.strerror or 'cannot be read'}{hint}", Exit.BAD_FILE) from None
    except YamlError as error:
        raise CliError(f"{file}:{error.line}: {error.message}", Exit.BAD_FILE) from None
    if not isinstance(document.value, dict):
        raise CliError(f"{file}:1: the file must be a mapping with slug, name, model and so on", Exit.BAD_FILE)
    try:
        checked = AgentFile.model_validate(document.value, by_alias=True, by_name=False, extra="forbid")
    except ValidationError as error:
        lines = _faults(file, document, error)
        raise CliError("\n".join(dict.fromkeys(lines)), Exit.BAD_FILE) from None
    plain = {name: value for name, value in document.value.items() if name not in BESIDE_DRAFT}
    draft = normal(_with_environment(file, document, plain, environment))
    checks = None if checked.checks is None else normal_checks(document.value["checks"])
    return AgentSource(
        file=file, slug=checked.slug, draft=draft, shown=without_secrets(draft), checks=checks, document=document
    )


def normal(draft: Mapping[str, Any]) -> dict[str, Any]:
    """A draft with every default written out, so that two drafts that mean the same are equal."""
    return AgentConfig.model_validate(draft).wire()


def normal_checks(checks: Sequence[Any]) -> list[dict[str, Any]]:
    written: list[dict[str, Any]] = CheckSuite.model_validate({"checks": checks}).wire()["checks"]
    return written


def without_secrets(draft: Mapping[str, Any]) -> dict[str, Any]:
    return {**draft, **{name: _hidden(draft[name]) for name in _HOLDERS if name in draft}}


def _hidden(holders: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    hidden = []
    for holder in holders:
        shown = dict(holder)
        if "secretHeaders" in shown:
            shown["secretHeaders"] = {name: {} for name in shown["secretHeaders"]}
        if "signingSecret" in shown:
            shown["signingSecret"] = {}
        hidden.append(shown)
    return hidden


def _with_environment(
    file: FilePath, document: Document, draft: dict[str, Any], environment: Mapping[str, str]
) -> dict[str, Any]:
    """`value: ${NAME}` of a secret is the value of that variable, so that no secret stands in a file."""

    def filled(value: Any, path: Path) -> Any:
        if isinstance(value, dict):
            return {name: filled(member, (*path, name)) for name, member in value.items()}
        if isinstance(value, list):
            return [filled(entry, (*path, number)) for number, entry in enumerate(value)]
        found = _FROM_ENVIRONMENT.fullmatch(value) if isinstance(value, str) else None
        if found is None or path[-1] != "value" or not set(_SECRET_PLACES) & set(path):
            return value
        if not environment.get(found[1]):
            raise CliError(f"{file}:{document.line_of(path)}: the variable {found[1]} is not set", Exit.BAD_FILE)
        return environment[found[1]]

    return {**draft, **{name: filled(draft[name], (name,)) for name in _HOLDERS if draft.get(name) is not None}}


def _faults(file: FilePath, document: Document, error: ValidationError) -> Iterator[str]:
    schema = agent_file_schema()
    for fault in error.errors(include_url=False, include_context=False, include_input=False)[:MAX_SHOWN]:
        path = _known_part(document, fault["loc"])
        name = dotted(path)
        message = fault["msg"].removeprefix("Value error, ")
        if fault["type"] == "extra_forbidden":
            nearest = get_close_matches(str(path[-1]), members_at(schema, path[:-1]), n=1, cutoff=0.5)
            message = "is not a known key." + (f" Did you mean {nearest[0]}?" if nearest else "")
        elif fault["type"] == "missing":
            name, message = dotted((*path, fault["loc"][-1])), "is missing"
        yield f"{file}:{document.line_of(path)}: {f'{name}: ' if name else ''}{message}"


def _known_part(document: Document, location: tuple[int | str, ...]) -> Path:
    """A fault's place in the file: the validator also names which kind of tool it tried, which is no key."""
    path: Path = ()
    for part in location:
        if (*path, part) in document.lines:
            path = (*path, part)
    return path


def dotted(path: Path) -> str:
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path)
    return text.removeprefix(".")


def members_at(schema: Mapping[str, Any], path: Path) -> list[str]:
    """The keys that the schema knows at a place of the file, over all its alternatives."""
    found = [_resolved(schema, schema)]
    for part in path:
        found = [inner for outer in found for inner in _inside(schema, outer, part)]
    return sorted({name for place in found for name in place.get("properties", ())})


def _inside(schema: Mapping[str, Any], place: Mapping[str, Any], part: int | str) -> Iterator[Mapping[str, Any]]:
    inner = place.get("items") if isinstance(part, int) else place.get("properties", {}).get(part)
    if inner is None and not isinstance(part, int):
        inner = place.get("additionalProperties")
    if not isinstance(inner, dict):
        return
    for alternative in (inner, *inner.get("anyOf", ()), *inner.get("oneOf", ())):
        yield _resolved(schema, alternative)


def _resolved(schema: Mapping[str, Any], place: Mapping[str, Any]) -> Mapping[str, Any]:
    reference = place.get("$ref")
    if reference is None:
        return place
    resolved: Mapping[str, Any] = schema["$defs"][reference.rpartition("/")[2]]
    return resolved
