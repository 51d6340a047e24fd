"""The pages of the site are what the guides say, whole, and lead nowhere that does not exist."""

import gzip
import hashlib
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
import yaml
from pydantic import TypeAdapter

from deploy.site.__main__ import DIST, stale
from deploy.site.guides import GUIDES, anchor_of, guide
from services.gateway.route_table import BASE, ROUTES
from services.gateway.site.files import ASSETS, files
from services.gateway.site.tables import TABLES
from shared.contracts.agents import AgentConfig
from shared.contracts.tools import Tool

# @scalar/api-reference 1.76.0, dist/browser/standalone.js
SCALAR = "dcb027152bf20bf2f6dcd66e8f9fb073c1a9e274cf0b94b939a7d99ab8947060"
HTML = sorted(path for path, file in files().items() if file.media_type.startswith("text/html"))
MARKDOWN = sorted(GUIDES.glob("*.md"), key=lambda path: path.name)


class _Page(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.ids: list[str] = []
        self.inline: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.links += [str(given[name]) for name in ("href", "src") if name in given]
        self.ids += [str(given["id"])] if "id" in given else []
        self.inline += [name for name in given if name.startswith("on") or name == "style"]
        if tag == "style" or (tag == "script" and "src" not in given):
            self.inline.append(tag)


def page(path: str) -> _Page:
    return _Page(files()[path].body.decode())


def test_the_committed_pages_are_built_from_the_guides() -> None:
    assert [path.name for path in stale()] == [], "run `make site` and commit services/gateway/site/dist"
    assert DIST.is_dir()


def test_the_renderer_of_the_reference_is_the_published_one_and_brings_its_licence() -> None:
    assert hashlib.sha256(gzip.decompress((ASSETS / "scalar.js.gz").read_bytes())).hexdigest() == SCALAR
    assert "MIT License" in (ASSETS / "scalar.licence.txt").read_text()


@pytest.mark.parametrize("path", HTML)
def test_every_link_of_a_page_leads_to_a_place_that_exists(path: str) -> None:
    routes = {BASE + route.path for route in ROUTES}
    missing = []
    for link in page(path).links:
        target, _, anchor = link.partition("#")
        target = target or path
        if link.startswith("data:") or target in routes:
            continue
        if target not in files() or (anchor and anchor not in page(target).ids):
            missing.append(link)
    assert missing == []


@pytest.mark.parametrize("path", HTML)
def test_a_page_runs_under_its_strict_policy(path: str) -> None:
    """No inline script or style, no other origin, and each id once."""
    found = page(path)
    assert found.inline == []
    assert [link for link in found.links if re.match(r"(https?:)?//", link)] == []
    assert sorted(found.ids) == sorted(set(found.ids))


def test_guides_have_every_error_code_and_every_frame_in_both_forms() -> None:
    for slug, place in (("errors", "<!-- errors -->"), ("sessions", "<!-- frames -->")):
        names = [row[0] for row in TABLES[place].rows]
        html, markdown = (files()[f"/docs/{slug}{end}"].body.decode() for end in ("", ".md"))
        assert [name for name in names if name not in markdown] == []
        assert [name for name in names if f"<code>{name.strip('`')}</code>" not in html] == []
        assert place not in html + markdown


@pytest.mark.parametrize("path", MARKDOWN, ids=lambda path: path.stem)
def test_the_data_in_guides_is_valid(path: Path) -> None:
    """What a test can run is run by tests/system/site/test_guides.py; these blocks are files and documents."""
    text = path.read_text()
    languages = set(re.findall(r"^```(\w+)$", text, re.MULTILINE))
    assert languages <= {"bash", "python", "json", "yaml", "html", "text"}
    for block in re.findall(r"```json\n(.*?)```", text, re.DOTALL):
        TypeAdapter(Tool).validate_json(block)
    for block in re.findall(r"```yaml\n(.*?)```", text, re.DOTALL):
        file = yaml.safe_load(block)
        AgentConfig.model_validate({name: value for name, value in file.items() if name not in ("slug", "checks")})


def test_sections_become_entries_of_the_search() -> None:
    made = guide("x", "# One `two`\n\nFirst words\nof it.\n\n## Part & more\n\nText.\n\n```bash\nrun it\n```\n")
    assert (made.title, made.summary) == ("One two", "First words of it.")
    assert [(part.anchor, part.text) for part in made.sections] == [
        ("one-two", "First words of it."),
        ("part-more", "Text. run it"),
    ]
    assert 'id="part-more"' in made.html
    assert anchor_of("What is it?") == "what-is-it"


def test_a_guide_without_a_heading_and_a_paragraph_is_refused() -> None:
    with pytest.raises(ValueError, match="must begin with a heading and a paragraph"):
        guide("x", "Text first.")
