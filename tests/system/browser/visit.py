"""A person's browser on pages of the gateway, and what must not happen there."""

from playwright.async_api import BrowserContext, Page


class Visit:
    """Notes requests to other origins, errors of scripts, and what the policy of a page refused."""

    def __init__(self, context: BrowserContext, base: str) -> None:
        self.context = context
        self.base = base
        self.wrong: list[str] = []
        # Answers with these statuses are what a test is about: a browser reports each of them as an error.
        self.expected: set[int] = set()

    async def open(self, path: str) -> Page:
        page = await self.context.new_page()
        page.on("request", lambda request: self._note(request.url))
        page.on("pageerror", lambda error: self.wrong.append(str(error)))
        page.on("console", lambda said: self._hear(said.text) if said.type == "error" else None)
        await page.goto(self.base + path)
        return page

    async def open_with_key(self, path: str, key: str) -> Page:
        """The playground or the console, with a key pasted into it."""
        page = await self.open(path)
        await page.get_by_label("Secret key").fill(key)
        await page.get_by_role("button", name="Use this key").click()
        await page.get_by_role("button", name="Forget the key").wait_for()
        return page

    async def open_reference(self) -> Page:
        page = await self.open("/docs/reference")
        await page.get_by_role("heading", name="Sessions", exact=True).first.wait_for()
        return page

    def _note(self, url: str) -> None:
        if not url.startswith((self.base + "/", "data:", "blob:")):
            self.wrong.append(url)

    def _hear(self, text: str) -> None:
        if not any(f"status of {status} " in text for status in self.expected):
            self.wrong.append(text)
