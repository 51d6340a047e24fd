"""A real Chromium, driven from outside. It is the system's: no browser is downloaded."""

import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from playwright.async_api import Browser, BrowserContext, async_playwright

from services.gateway.widget.assets import DIST
from tests.programs import required_program
from tests.system.openai.node_client import Node

WIDGET = DIST.parent
PACKAGES = Path(__file__).parent / "node"


@pytest.fixture
async def browser() -> AsyncIterator[Browser]:
    program = required_program("chromium", "chromium")
    async with async_playwright() as driver:
        browser = await driver.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield browser
        await browser.close()


@pytest.fixture
async def context(browser: Browser) -> AsyncIterator[BrowserContext]:
    """One person's browser: pages of it share their storage."""
    context = await browser.new_context(locale="en-GB", viewport={"width": 1280, "height": 800})
    context.set_default_timeout(20_000)
    yield context
    await context.close()


@pytest.fixture(scope="session")
def axe(tmp_path_factory: pytest.TempPathFactory) -> str:
    required_program("npm", "npm")
    folder = Node.install(tmp_path_factory, PACKAGES)
    return (folder / "node_modules/axe-core/axe.min.js").read_text()


@pytest.fixture(scope="session")
def widget_sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the widget's sources beside the packages of the lock file."""
    required_program("npm", "npm")
    required_program("node", "nodejs")
    packages = Node.install(tmp_path_factory, WIDGET)
    copy = tmp_path_factory.mktemp("widget")
    shutil.copytree(WIDGET, copy, dirs_exist_ok=True, ignore=shutil.ignore_patterns("node_modules", "dist", "*.py"))
    (copy / "node_modules").symlink_to(packages / "node_modules")
    return copy
