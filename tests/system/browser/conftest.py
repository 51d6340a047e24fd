"""A real Chromium, driven from outside. It is the system's: no browser is downloaded."""

from collections.abc import AsyncIterator

import pytest
from playwright.async_api import Browser, BrowserContext, async_playwright

from tests.programs import required_program


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
