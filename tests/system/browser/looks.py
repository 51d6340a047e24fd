"""The screens on which pages are looked at, by tests and by people."""

from pathlib import Path
from typing import Any, Final

from playwright.async_api import Page

from tests.system.browser.violations import violations

LOOKS: Final[dict[str, dict[str, Any]]] = {
    "desktop": {"viewport": {"width": 1280, "height": 900}},
    "mobile": {"viewport": {"width": 390, "height": 800}, "is_mobile": True, "has_touch": True},
    "dark": {"viewport": {"width": 1280, "height": 900}, "color_scheme": "dark"},
}
_OVERHANG: Final = "document.documentElement.scrollWidth - document.documentElement.clientWidth"


async def looked_at(page: Page, axe: str, picture: Path) -> None:
    """Takes a picture. Fails on what axe finds, and where the page is wider than its screen."""
    await page.screenshot(path=picture, full_page=True)
    assert await violations(page.main_frame, axe) == [], picture.name
    assert await page.evaluate(_OVERHANG) <= 0, f"{picture.name} is wider than the screen"
