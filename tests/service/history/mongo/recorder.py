"""Records the commands that a MongoDB client sends."""

from collections.abc import Mapping
from typing import Any

from pymongo.monitoring import CommandFailedEvent, CommandListener, CommandStartedEvent, CommandSucceededEvent


class Recorder(CommandListener):
    """`commands`: name and document of each, without those of the driver itself."""

    def __init__(self) -> None:
        self.commands: list[tuple[str, Mapping[str, Any]]] = []

    def started(self, event: CommandStartedEvent) -> None:
        if event.command_name not in {"hello", "ping", "buildInfo", "endSessions"}:
            self.commands.append((event.command_name, event.command))

    def succeeded(self, event: CommandSucceededEvent) -> None:
        pass

    def failed(self, event: CommandFailedEvent) -> None:
        pass

    def of(self, collection: str, *names: str) -> list[Mapping[str, Any]]:
        return [command for name, command in self.commands if name in names and command[name] == collection]
