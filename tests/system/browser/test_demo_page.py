"""The page that `make up` serves on another port: its widget talks to the demo agent."""

from playwright.async_api import BrowserContext

from tests.system.browser.host_page import Widget
from tests.system.browser.violations import violations
from tests.system.stack import Stack


async def test_the_demo_page_embeds_the_widget_for_the_demo_agent(
    stack: Stack, context: BrowserContext, axe: str
) -> None:
    page = await context.new_page()
    await page.goto(stack.facts["modelUrl"] + "/")
    assert await violations(page.main_frame, axe) == []
    widget = await Widget(page).show()
    # A first visitor sees what to ask, and one click asks it.
    await widget.frame.get_by_role("button", name="Do you deliver to 80202?").click()
    (answer,) = await widget.finished_answers(1)
    assert "80202" in answer
