"""The site in a real Chromium: used, photographed, and checked by axe in light, dark and on a small screen."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from playwright.async_api import Browser, BrowserContext

from services.gateway.site.files import files
from tests.system.browser.looks import LOOKS, looked_at
from tests.system.browser.violations import violations
from tests.system.browser.visit import Visit
from tests.system.site.guide_code import run
from tests.system.stack import Stack

PAGES = sorted(path for path, file in files().items() if file.media_type.startswith("text/html"))
OWN = [path for path in PAGES if path != "/docs/reference"]


# One look in `make test`; the others, which differ in colours and width, with the long runs.
FIRST, *OTHERS = LOOKS


@pytest.fixture(params=[FIRST, *(pytest.param(name, marks=pytest.mark.long) for name in OTHERS)])
async def look(request: pytest.FixtureRequest, browser: Browser, stack: Stack) -> AsyncIterator[tuple[str, Visit]]:
    context = await browser.new_context(locale="en-GB", **LOOKS[request.param])
    context.set_default_timeout(40_000)
    yield request.param, Visit(context, stack.facts["baseUrl"])
    await context.close()


@pytest.fixture
def visit(context: BrowserContext, stack: Stack) -> Visit:
    return Visit(context, stack.facts["baseUrl"])


async def test_axe_finds_nothing_on_our_pages(look: tuple[str, Visit], axe: str, tmp_path: Path) -> None:
    name, visit = look
    for path in OWN:
        page = await visit.open(path)
        await looked_at(page, axe, tmp_path / f"{name}{path.replace('/', '-')}.png")
        await page.close()
    assert visit.wrong == []


async def test_axe_finds_nothing_serious_in_the_reference(look: tuple[str, Visit], axe: str, tmp_path: Path) -> None:
    name, visit = look
    page = await visit.open_reference()
    await page.screenshot(path=tmp_path / f"{name}-reference.png")
    assert await page.get_by_role("button", name="Test Request").count() == 0
    found = await violations(page.main_frame, axe)
    assert [each for each in found if each["impact"] in ("serious", "critical")] == []
    assert visit.wrong == []


async def test_the_quickstart_works_by_copy_and_paste(visit: Visit, stack: Stack, tmp_path: Path) -> None:
    await visit.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page = await visit.open("/")
    await page.get_by_role("link", name="Quickstart").click()
    pasted: dict[str, str] = {"bash": "", "python": ""}
    for block in await page.locator(".code").all():
        await block.get_by_role("button", name="Copy").click()
        await block.get_by_role("button", name="Copied").wait_for()
        language = str(await block.locator("code").get_attribute("class")).removeprefix("language-")
        if language in pasted:
            pasted[language] += await page.evaluate("navigator.clipboard.readText()") + "\n"
    assert "event: done" in await run(pasted["bash"], "bash", stack, tmp_path)
    assert "11:00" in await run(pasted["python"], "python", stack, tmp_path)
    assert visit.wrong == []


async def test_the_search_is_used_by_keyboard_alone(visit: Visit) -> None:
    page = await visit.open("/docs")
    await page.get_by_role("searchbox").wait_for()
    await page.keyboard.press("/")
    await page.keyboard.type("last-event-id")
    await page.get_by_role("list", name="Results").wait_for()
    await page.keyboard.press("Tab")
    await page.keyboard.press("Enter")
    await page.wait_for_url("**/docs/resume#*")
    await page.get_by_role("searchbox").fill("no such words anywhere")
    await page.get_by_text("Nothing found").wait_for()
    await page.get_by_role("searchbox").fill("<img src=x onerror=alert(1)>")
    await page.get_by_text("Nothing found").wait_for()
    assert await page.locator("header img").count() == 0
    await page.keyboard.press("Escape")
    assert await page.get_by_role("searchbox").input_value() == ""
    assert visit.wrong == []


async def test_the_colours_that_a_reader_chose_stay(visit: Visit) -> None:
    page = await visit.open("/docs/keys")
    await page.get_by_role("button", name="Switch to the dark colours").click()
    dark = await page.evaluate("getComputedStyle(document.body).backgroundColor")
    await page.goto(visit.base + "/docs/limits")
    await page.get_by_role("button", name="Switch to the light colours").wait_for()
    assert await page.evaluate("getComputedStyle(document.body).backgroundColor") == dark
    reference = await visit.open_reference()
    assert await reference.locator("body.dark-mode").count() == 1


async def test_a_page_without_scripts_is_whole_and_says_what_is_missing(browser: Browser, stack: Stack) -> None:
    context = await browser.new_context(java_script_enabled=False)
    visit = Visit(context, stack.facts["baseUrl"])
    page = await visit.open("/docs/errors")
    assert await page.locator("#rate_limited").is_visible()
    assert not await page.get_by_role("searchbox").is_visible()
    reference = await visit.open("/docs/reference")
    assert "needs JavaScript" in await reference.locator("noscript").inner_text()
    await context.close()
