"""What a draft must satisfy before it is stored: schema, size, templates, upstreams and tools. Pure."""

from collections.abc import Collection, Iterator
from typing import Any, Final

import orjson
from pydantic import ValidationError

from services.history.document_faults import Fault, faults_of
from shared.contracts.agents import AgentConfig
from shared.contracts.endpoints import Endpoint
from shared.contracts.errors import ApiError, Code
from shared.contracts.guardrails import PatternsGuardrail
from shared.contracts.templates import BUILT_INS, is_known, names_in
from shared.patterns import BadPattern, checked_pattern, is_match
from shared.web.guard_rules import OutgoingPolicy, UrlRefused
from shared.web.stored_urls import checked_stored_url

MAX_DRAFT: Final = 256 << 10
MAX_TOOLS: Final = 64
MAX_FALLBACKS: Final = 8


def checked_draft(
    draft: dict[str, Any], upstreams: Collection[str], policy: OutgoingPolicy | None = None
) -> AgentConfig:
    """The draft as a configuration. `upstreams`: the names that agents may use; empty: any.

    `policy`: where the workers may call; None: not known here.

    Raises `payload_too_large` above 256 KiB, and `validation_failed` with one entry per fault: its field and what to
    change.
    """
    size = len(orjson.dumps(draft))
    if size > MAX_DRAFT:
        raise ApiError(Code.PAYLOAD_TOO_LARGE, f"The draft is {size} bytes long; at most {MAX_DRAFT} are allowed.")
    try:
        config = AgentConfig.model_validate(draft, extra="forbid")
    except ValidationError as error:
        raise ApiError(Code.VALIDATION_FAILED, errors=faults_of(error, AgentConfig, whole="draft")) from None
    faults = [
        *_template_faults(config),
        *_upstream_faults(config, upstreams),
        *_tool_faults(config),
        *(_address_faults(config, policy) if policy is not None else ()),
        *redaction_faults(config),
        *_pattern_faults(config),
    ]
    if faults:
        raise ApiError(Code.VALIDATION_FAILED, errors=faults)
    return config


def _template_faults(config: AgentConfig) -> Iterator[Fault]:
    known = ", ".join(sorted(BUILT_INS))
    for field, text in (("instructions", config.instructions), ("greeting", config.greeting)):
        for name in names_in(text):
            if not is_known(name):
                yield {
                    "field": field,
                    "message": f"{{{{{name}}}}} is not a variable: use a name of the session's metadata, "
                    f"endUser.…, or one of {known}.",
                }
    for name in config.variables:
        if not is_known(name) or name in BUILT_INS:
            yield {"field": f"variables.{name}", "message": "A variable's name has letters, digits, - and _ only."}


def _upstream_faults(config: AgentConfig, upstreams: Collection[str]) -> Iterator[Fault]:
    if len(config.fallback_models) > MAX_FALLBACKS:
        yield {"field": "fallbackModels", "message": f"At most {MAX_FALLBACKS} fallback models are allowed."}
    for index, choice in enumerate((config.model, *config.fallback_models)):
        if upstreams and choice.upstream not in upstreams:
            field = "model.upstream" if index == 0 else f"fallbackModels.{index - 1}.upstream"
            yield {
                "field": field,
                "message": f"There is no upstream {choice.upstream!r}. Known: {', '.join(sorted(upstreams))}.",
            }


def redaction_faults(config: AgentConfig) -> Iterator[Fault]:
    """Patterns that could not be run when a message is admitted."""
    for index, custom in enumerate(config.redaction.patterns):
        field = f"redaction.patterns.{index}.pattern"
        try:
            if is_match(custom.pattern, ""):
                yield {"field": field, "message": "The pattern matches an empty text, so it would match everywhere."}
        except BadPattern as error:
            yield {"field": field, "message": f"This is not a regular expression in RE2's syntax: {error}"}


def _tool_faults(config: AgentConfig) -> Iterator[Fault]:
    if len(config.tools) > MAX_TOOLS:
        yield {"field": "tools", "message": f"At most {MAX_TOOLS} tools are allowed."}


def _address_faults(config: AgentConfig, policy: OutgoingPolicy) -> Iterator[Fault]:
    """Of all servers that the draft names."""
    for members in ("tools", "guardrails"):
        for index, each in enumerate(getattr(config, members)):
            if not isinstance(each, Endpoint):
                continue
            try:
                checked_stored_url(each.url, policy)
            except UrlRefused as error:
                yield {"field": f"{members}.{index}.url", "message": f"The address is not allowed: {error}."}


def _pattern_faults(config: AgentConfig) -> Iterator[Fault]:
    for index, guardrail in enumerate(config.guardrails):
        for number, pattern in enumerate(guardrail.patterns if isinstance(guardrail, PatternsGuardrail) else ()):
            try:
                checked_pattern(pattern)
            except BadPattern as error:
                field = f"guardrails.{index}.patterns.{number}"
                yield {"field": field, "message": f"is not a regular expression in RE2's syntax: {error}"}
