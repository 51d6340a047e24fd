"""The demo agent: its configuration, its checks, and its documents, cut into passages."""

from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

from deploy.cli.yaml_file import read_yaml
from shared.contracts.agents import AgentConfig, ModelChoice, Passage
from shared.contracts.knowledge import NewSource
from shared.contracts.widget import WidgetSettings

WORKSPACE: Final = "demo"
AGENT_ID: Final = "agt_000000000000000000000p1zza"
HERE: Final = Path(__file__).parent
_ALPHABET: Final = "0123456789abcdefghjkmnpqrstvwxyz"


@dataclass(frozen=True, kw_only=True)
class DemoDocument:
    """As it is added to the agent, and what it is read into."""

    order: NewSource
    passages: tuple[Passage, ...]


def demo_config(tool_base_url: str, model: str | None = None) -> AgentConfig:
    """`tool_base_url` is where the demo process listens; `model` names another model than `demo/extractive`."""
    config = AgentConfig.model_validate(_file())
    tools = tuple(tool.model_copy(update={"url": f"{tool_base_url}/tools/{tool.name}"}) for tool in config.tools)
    choice = ModelChoice(name=model) if model else config.model
    return config.model_copy(update={"tools": tools, "model": choice})


def demo_checks() -> dict[str, Any]:
    """As `PUT /agents/{id}/checks` takes them."""
    return {"checks": _file()["checks"]}


def demo_widget() -> WidgetSettings:
    """What the shop's page greets its visitors with."""
    return WidgetSettings(
        greeting={"en": "Hello! Ask me about our menu, delivery or your order."},
        suggestions={"en": ["Do you deliver to 80202?", "What are your hours?", "Where is order 1042?"]},
    )


def _file() -> dict[str, Any]:
    found: dict[str, Any] = read_yaml((HERE / "agent.yaml").read_bytes()).value
    return found


@cache
def demo_documents() -> tuple[DemoDocument, ...]:
    """In a stable order, with the same ids at every start."""
    return tuple(_document(path) for path in sorted((HERE / "documents").glob("*.md")))


def _document(path: Path) -> DemoDocument:
    text = path.read_text("utf-8")
    title = text.partition("\n")[0].removeprefix("# ").strip()
    order = NewSource(id=source_id(path.stem), kind="text", title=title, content=text)
    return DemoDocument(order=order, passages=tuple(cut(path.stem, text)))


def passages_of(folder: Path) -> list[Passage]:
    """Of all Markdown files of a folder, in a stable order."""
    return [passage for path in sorted(folder.glob("*.md")) for passage in cut(path.stem, path.read_text("utf-8"))]


def cut(name: str, markdown: str) -> list[Passage]:
    """A document's sections as passages, titled by both headings; list marks are dropped."""
    passages = []
    opening, *sections = markdown.split("\n## ")
    document_title = opening.partition("\n")[0].removeprefix("# ").strip()
    for section in sections:
        heading, _, body = section.partition("\n")
        text = "\n".join(line.removeprefix("- ").strip() for line in body.splitlines() if line.strip())
        passages.append(Passage(source_id=source_id(name), title=f"{document_title}: {heading.strip()}", text=text))
    return passages


def source_id(name: str) -> str:
    """An id that is the same at every start, in the shape of the others."""
    number = int.from_bytes(sha256(name.encode()).digest()[:16])
    return "src_" + "".join(_ALPHABET[number >> shift & 31] for shift in range(125, -1, -5))
