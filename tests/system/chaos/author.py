"""An author of an agent's knowledge: adds small sources, publishes, has some read again, deletes and purges.

Each source has a mark, a word that stands in its text and in its title and nowhere else. What is left of a purged
source is found by it.
"""

import asyncio
from contextlib import suppress
from typing import Any, Final

from tests.system.chaos.events import Added, Listed, Removed, Removing
from tests.system.chaos.visitor import GONE, GaveUp, Visitor, read_json

# So many at once: a run's sources are many, and what a version holds stays small.
MOST: Final = 8
LOOKS: Final = 20
LOOK_S: Final = 0.5
_PARAGRAPHS: Final = 6


class Author(Visitor):
    """`living` are the sources of the draft; `held`, deleted ones that a version may have."""

    agent = ""

    async def run(self) -> None:
        """Until the run closes, or the faults are over for too long without an answer."""
        self.living: list[str] = []
        self.held: list[str] = []
        with suppress(GaveUp):
            body = {"name": "knowing", "model": {"name": "scripted/tokens=4,delay=3"}}
            self.agent = (await self.call("POST", "/agents", body))["id"]
            while not self.world.closing.is_set():
                await self._step()
                await self.think()

    async def _step(self) -> None:
        dice = self.dice.random()
        if not self.living or (dice < 0.4 and len(self.living) < MOST):
            await self._add()
        elif dice < 0.5:
            await self.call("POST", f"/agents/{self.agent}/publish")
        elif dice < 0.6:
            await self.call("POST", f"{self._path(self.dice.choice(self.living))}/retry")
        elif dice < 0.75:
            await self._purge()
        elif dice < 0.9:
            await self._publish()
            await self._purge()
        else:
            source = self.living.pop(self.dice.randrange(len(self.living)))
            self.held.append(source)
            await self._remove(source, purge=False)

    async def _add(self) -> None:
        mark = f"mark{self.dice.randbytes(8).hex()}"
        text = f"# About {mark}\n\n" + "\n\n".join(f"{mark} has the number {n}." for n in range(_PARAGRAPHS))
        if self.dice.random() < 0.5:
            added = await self._told({"kind": "text", "title": mark, "text": text})
        else:
            added = await self._told(*_form(mark, text))
        self.world.history.add(Added(at=self.world.clock(), agent=self.agent, source=added["id"], mark=mark))
        self.living.append(added["id"])

    async def _told(self, body: Any, headers: dict[str, str] | None = None) -> dict[str, Any]:
        """Repeated until the source is taken in: the same bytes are the same source."""
        while True:
            self.check_patience(0)
            try:
                async with self.ask("POST", f"/agents/{self.agent}/knowledge/sources", body, headers) as response:
                    value = await read_json(response)
                    if response.status == 202 and value:
                        self.succeeded()
                        added: dict[str, Any] = value["data"]
                        return added
                    self.failed(response)
            except GONE as error:
                self.failed(error)
            await self.pause()

    async def _publish(self) -> None:
        """Until the version is published, which waits for its sources and its index; or for a while."""
        version = await self.call("POST", f"/agents/{self.agent}/publish")
        for _ in range(LOOKS):
            if version is None or version["state"] != "preparing" or self.world.closing.is_set():
                return
            await asyncio.sleep(LOOK_S)
            version = await self.call("GET", f"/agents/{self.agent}/versions/{version['number']}")

    async def _purge(self) -> None:
        """Of a source of the draft, or of one that only versions have."""
        sources = self.held if self.held and self.dice.random() < 0.4 else self.living
        await self._remove(sources.pop(self.dice.randrange(len(sources))), purge=True)

    async def _remove(self, source: str, *, purge: bool) -> None:
        self.world.history.add(Removing(at=self.world.clock(), source=source, purge=purge))
        path = self._path(source)
        status = await self.status("DELETE", f"{path}?purge=true" if purge else path)
        looked = await self.status("GET", path)
        self.world.history.add(Removed(at=self.world.clock(), source=source, purge=purge, status=status, looked=looked))

    def _path(self, source: str) -> str:
        return f"/agents/{self.agent}/knowledge/sources/{source}"

    async def listed(self) -> list[Listed]:
        """For the end of a run. Nothing of an author that never got its agent."""
        if not self.agent:
            return []
        page = await self.page(f"/agents/{self.agent}/knowledge/sources?limit=200")
        names = tuple(row["id"] for row in page["data"])
        return [Listed(agent=self.agent, sources=names, counts=page["pagination"]["counts"])]


def _form(mark: str, text: str) -> tuple[bytes, dict[str, str]]:
    """A Markdown file with its title, as a multipart body and its headers."""
    lines = [
        f"--{mark}",
        'Content-Disposition: form-data; name="title"',
        "",
        mark,
        f"--{mark}",
        'Content-Disposition: form-data; name="file"; filename="notes.md"',
        "Content-Type: text/markdown",
        "",
        text,
        f"--{mark}--",
        "",
    ]
    return "\r\n".join(lines).encode(), {"Content-Type": f"multipart/form-data; boundary={mark}"}
