"""The tests of the widget notice a widget that is broken: each fault is built, served in place of ours, and found."""

import re
import shutil
import subprocess
from pathlib import Path

import orjson
import pytest
from playwright.async_api import BrowserContext, Error, Route

from services.gateway.widget.assets import assets
from tests.system.browser import host_page
from tests.system.browser.widget_mutants import CONTROL, MUTANTS, Mutant
from tests.system.stack import Stack

pytestmark = pytest.mark.long
LONGEST_MS = 15_000


def built(sources: Path, folder: Path, mutant: Mutant | None) -> Path:
    """The widget's files with this fault; without one the same as ours."""
    copy, out = folder / "sources", folder / "dist"
    shutil.copytree(sources, copy, symlinks=True)
    if mutant is not None:
        file = copy / "src" / mutant.file
        text = file.read_text()
        assert text.count(mutant.before) == 1, f"{mutant.file} has changed: adapt the fault"
        file.write_text(text.replace(mutant.before, mutant.after))
    command = ["node", "build.mjs", str(out)]
    done = subprocess.run(command, cwd=copy, capture_output=True, text=True, timeout=100, check=False)
    # A fault may make a file larger than its limit.
    assert (out / "licences.txt").exists(), done.stdout + done.stderr
    return out


async def serve(context: BrowserContext, folder: Path) -> None:
    """In place of the gateway's own files. The frame's page keeps its policy."""
    manifest = orjson.loads((folder / "manifest.json").read_bytes())
    own, new = assets()["frame.js"], manifest["frame.js"]

    async def file(route: Route) -> None:
        name = route.request.url.rpartition("/")[2]
        name = manifest["loader.js"]["file"] if name == "loader.js" else name
        await route.fulfill(path=folder / name, content_type="text/javascript")

    async def page(route: Route) -> None:
        response = await route.fetch()
        text = (await response.text()).replace(own.file, new["file"]).replace(own.integrity, new["integrity"])
        await route.fulfill(response=response, body=text)

    await context.route(re.compile(r"/widget/(loader|frame\.\w+)\.js$"), file)
    await context.route(re.compile(r"/widget/frame/key_"), page)


@pytest.mark.parametrize("mutant", MUTANTS, ids=[mutant.fault for mutant in MUTANTS])
async def test_a_planted_fault_is_noticed(
    stack: Stack,
    context: BrowserContext,
    widget_sources: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    mutant: Mutant,
) -> None:
    monkeypatch.setattr(host_page, "LONGEST_MS", LONGEST_MS)
    context.set_default_timeout(LONGEST_MS)
    await serve(context, built(widget_sources, tmp_path, mutant))
    with pytest.raises((AssertionError, Error)) as noticed:
        await mutant.test(stack, context)
    print(mutant.fault, "->", repr(noticed.value)[:300])


async def test_a_widget_without_a_fault_passes_when_it_is_served_the_same_way(
    stack: Stack, context: BrowserContext, widget_sources: Path, tmp_path: Path
) -> None:
    await serve(context, built(widget_sources, tmp_path, None))
    await CONTROL(stack, context)
