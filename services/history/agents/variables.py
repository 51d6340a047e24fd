"""The values of an agent's `{{variables}}` for one session or completion. Pure."""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime

from shared.contracts.agents import AgentConfig
from shared.contracts.errors import ApiError, Code
from shared.contracts.schema import rfc3339
from shared.contracts.sessions import EndUser
from shared.contracts.templates import END_USER, missing, names_in


def texts_of(config: AgentConfig) -> tuple[str, ...]:
    return config.instructions, config.greeting


def used_names(config: AgentConfig) -> list[str]:
    return list(dict.fromkeys(name for text in texts_of(config) for name in names_in(text)))


def values_for(
    config: AgentConfig,
    metadata: Mapping[str, str],
    end_user: EndUser | None,
    *,
    agent_id: str,
    session_id: str | None,
    now: datetime,
) -> dict[str, str]:
    """The values of the names that the agent's texts use. A session's metadata goes before a declared default."""
    given = {name: variable.default for name, variable in config.variables.items() if variable.default is not None}
    given |= metadata
    given |= _end_user_values(end_user)
    moment = now.astimezone(UTC)
    given |= {
        "now": rfc3339(moment),
        "today": moment.date().isoformat(),
        "agent.name": config.name,
        "agent.id": agent_id,
        "session.id": session_id or "",
    }
    return {name: given[name] for name in used_names(config) if name in given}


def _end_user_values(end_user: EndUser | None) -> dict[str, str]:
    if end_user is None:
        return {}
    values = {f"{END_USER}{name}": value for name, value in end_user.metadata.items()}
    values[f"{END_USER}id"] = end_user.id
    if end_user.name is not None:
        values[f"{END_USER}name"] = end_user.name
    return values


def refuse_missing(texts: Iterable[str], values: Mapping[str, str]) -> None:
    """Raises `validation_failed` that names each variable without a value, and where the caller puts it."""
    names = missing(texts, values)
    if names:
        raise ApiError(
            Code.VALIDATION_FAILED,
            "The agent's texts need values that were not given.",
            errors=[
                {"field": _field_of(name), "message": f"is needed: the agent's texts use {{{{{name}}}}}."}
                for name in names
            ],
        )


def _field_of(name: str) -> str:
    if not name.startswith(END_USER):
        return f"metadata.{name}"
    member = name.removeprefix(END_USER)
    return f"endUser.{member}" if member in ("id", "name") else f"endUser.metadata.{member}"
