"""settings.md: every variable, from the settings classes."""

from typing import Final

from pydantic import SecretStr
from pydantic.fields import FieldInfo

from deploy.reference.markdown import page as markdown_page
from deploy.reference.markdown import table
from services.agent_worker.settings import WorkerSettings
from services.gateway.settings import GatewaySettings
from services.history.settings import HistorySettings
from shared.known_variables import SECRETS
from shared.settings import Settings

SECTIONS: Final[tuple[tuple[str, type[Settings]], ...]] = (
    ("every service", Settings),
    ("gateway", GatewaySettings),
    ("agent_worker", WorkerSettings),
    ("history", HistorySettings),
)
# Name without the prefix, default and description of what only `make up` and the demo model read.
LOCAL: Final = (
    ("MODEL", "", "name of the real model behind the demo agent; together with PARLEY_MODEL_BASE_URL"),
    ("DEMO_DELAY_MS", "15", "pause between the words of the demo model, milliseconds"),
    ("GATEWAYS", "1", "number of gateways"),
    ("WORKERS", "2", "number of workers"),
    ("HISTORIES", "1", "number of history processes"),
)
# What `parley`, the command line, reads.
CLI: Final = (
    ("URL", "http://127.0.0.1:8080", "the server that `parley` talks to; else that of its profile"),
    ("API_KEY", "", "the key that `parley` uses; else that of its profile"),
    ("PROFILE", "", "the profile of `parley login` to use; else the current one"),
    ("CONFIG", "~/.config/parley/config.json", "where `parley login` keeps its profiles"),
)
INTRODUCTION = """\
Every process reads its settings from the environment once, at its start. An unknown `PARLEY_*` variable is refused with
the nearest name that exists. A process ignores the variables of the others, so that one file serves all of them.
`PARLEY_<NAME>_FILE` names a file with the value of a secret, such as one that an orchestrator mounts: {files}.
Kubernetes' service variables (`PARLEY_SERVICE_HOST`, `PARLEY_PORT=tcp://…`) are ignored."""


def own_fields(settings: type[Settings]) -> dict[str, FieldInfo]:
    """What the class reads besides what every process reads."""
    inherited = {} if settings is Settings else Settings.model_fields
    return {
        name: field
        for name, field in settings.model_fields.items()
        if name not in inherited or inherited[name].default != field.default
    }


def shown_default(field: FieldInfo) -> str:
    if field.is_required():
        return ""
    value = field.get_default(call_default_factory=True)
    if isinstance(value, SecretStr):
        return value.get_secret_value()
    if isinstance(value, dict):
        return "{}"
    return str(value).lower() if isinstance(value, bool) else str(value)


def page() -> str:
    return markdown_page(
        "Settings",
        "the settings classes",
        INTRODUCTION.format(files=", ".join(f"`{name}`" for name in sorted(SECRETS))),
        *(_section(*each) for each in SECTIONS),
        _plain_section("`make up` alone", LOCAL),
        _plain_section("`parley` alone", CLI),
    )


def _section(name: str, settings: type[Settings]) -> str:
    rows = [
        (f"`PARLEY_{field_name.upper()}`", _default(field), field.description or "")
        for field_name, field in own_fields(settings).items()
    ]
    return f"## {name}\n\n" + table(("variable", "default", "meaning"), rows)


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    shown = shown_default(field)
    return f"`{shown}`" if shown else "empty"


def _plain_section(title: str, variables: tuple[tuple[str, str, str], ...]) -> str:
    rows = [(f"`PARLEY_{name}`", f"`{default}`" if default else "empty", text) for name, default, text in variables]
    return f"## {title}\n\n" + table(("variable", "default", "meaning"), rows)
