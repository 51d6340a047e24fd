"""`/admin` of the private port, in a browser."""

from pathlib import Path

import aiohttp
import pytest
from playwright.async_api import BrowserContext

from tests.system.browser.violations import violations
from tests.system.stack import Stack


async def test_the_page_is_on_the_private_port_only_and_shows_every_process(
    stack: Stack, http: aiohttp.ClientSession
) -> None:
    async with http.get(f"{stack.facts['baseUrl']}/admin") as response:
        assert response.status == 404
    async with http.get(f"{stack.facts['gateways'][0]}/admin") as response:
        text = await response.text()
        assert response.status == 200
        assert "default-src 'none'" in response.headers["Content-Security-Policy"]
    for kind in ("gateway", "history", "ingest", "worker"):
        assert f'<th scope="row">{kind}</th>' in text


@pytest.mark.parametrize("mode", ["light", "dark"])
async def test_axe_finds_nothing_on_the_page_and_it_can_be_photographed(
    stack: Stack, context: BrowserContext, axe: str, mode: str, tmp_path: Path
) -> None:
    page = await context.new_page()
    await page.emulate_media(color_scheme="dark" if mode == "dark" else "light")
    refused = list[str]()
    page.on("console", lambda message: refused.append(message.text))
    await page.goto(f"{stack.facts['gateways'][0]}/admin")
    assert await violations(page.main_frame, axe) == []
    photo = await page.screenshot(path=tmp_path / "admin.png", full_page=True)
    assert len(photo) > 10_000
    # The style was applied: the policy refused nothing.
    assert await page.evaluate("getComputedStyle(document.querySelector('dl')).display") == "grid"
    assert refused == []
