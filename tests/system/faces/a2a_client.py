"""Runs the official client of A2A against the stack, and puts together what it was told."""

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any
from uuid import uuid4

from tests.system.openai import python_client

CLIENTS = Path(__file__).parent / "python"

Documents = AsyncIterator[dict[str, Any]]


def installed() -> Path:
    return python_client.installed("a2a", CLIENTS)


def start(python: Path, url: str, key: str, binding: str, *steps: Any) -> AbstractAsyncContextManager[Documents]:
    """`url`: of the agent's interface. The documents say which step they are of."""
    config = {"url": url, "key": key, "binding": binding, "steps": steps}
    return python_client.start(python, "a2a", config, CLIENTS)


async def run(python: Path, url: str, key: str, binding: str, *steps: Any) -> list[list[dict[str, Any]]]:
    """The documents of each step."""
    async with start(python, url, key, binding, *steps) as documents:
        found: list[list[dict[str, Any]]] = [[] for _ in steps]
        async for document in documents:
            if "step" in document:
                found[document["step"]].append(document)
    return found


def message(text: str, *, message_id: str | None = None, context: str = "", task: str = "") -> dict[str, Any]:
    """The parameters of a message."""
    said = {"messageId": message_id or uuid4().hex, "role": "ROLE_USER", "parts": [{"text": text}]}
    named = {name: value for name, value in (("contextId", context), ("taskId", task)) if value}
    return {"message": {**said, **named}}


class Told:
    """A task as a client puts it together from the events of a step."""

    def __init__(self) -> None:
        self.task: dict[str, Any] = {}
        self.text = ""
        self.states: list[str] = []
        self.activities: list[str] = []
        self.citations: list[dict[str, Any]] = []
        self.replaced = 0

    @classmethod
    def of(cls, documents: list[dict[str, Any]]) -> "Told":
        told = cls()
        for document in documents:
            assert "error" not in document, document
            if "event" in document:
                told.apply(document["event"])
        return told

    def apply(self, event: dict[str, Any]) -> None:
        if (task := event.get("task") or (event if "status" in event and "id" in event else None)) is not None:
            self.task = task
            self.states.append(task["status"]["state"])
            for artifact in task.get("artifacts", ()):
                self._artifact(artifact, append=False)
        elif (update := event.get("statusUpdate")) is not None:
            self.states.append(update["status"]["state"])
            activity = update.get("metadata", {}).get("activity")
            if activity is not None:
                self.activities.append(activity["type"])
        elif (update := event.get("artifactUpdate")) is not None:
            self._artifact(update["artifact"], append=update.get("append", False))

    def _artifact(self, artifact: dict[str, Any], *, append: bool) -> None:
        text = "".join(part.get("text", "") for part in artifact["parts"])
        self.replaced += bool(self.text) and not append
        self.text = self.text + text if append else text
        self.citations = artifact.get("metadata", {}).get("citations", self.citations)

    @property
    def state(self) -> str:
        return self.states[-1]
