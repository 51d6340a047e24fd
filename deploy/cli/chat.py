"""`parley chat AGENT`: a conversation at the terminal, over a durable session."""

import asyncio
import signal
import sys
from contextlib import aclosing, suppress
from typing import Any, Final

import click
import orjson

from deploy.cli.agent_lookup import find_agent
from deploy.cli.api import Refused
from deploy.cli.chat_screen import PlainScreen, Screen, TurnScreen
from deploy.cli.commands import Cli
from deploy.cli.exits import CliError, Exit
from deploy.cli.sse import Frame
from deploy.cli.turn_stream import TurnStream
from deploy.cli.typed_lines import TypedLines
from shared.ids import is_id

HELP: Final = (
    "/resume  show the last turn from its start and follow it\n"
    "/cancel  end the running turn; what was answered stays (also Ctrl-C)\n"
    "/session show the session's id\n"
    "/new     begin a new session\n"
    "/quit    leave (also Ctrl-D)"
)
PROMPT: Final = "> "


class JsonScreen:
    """One line of JSON for each frame."""

    def show(self, frame: Frame) -> None:
        line = {"event": frame.event, "id": frame.id, "data": frame.data}
        click.echo(orjson.dumps(line).decode())


class Chat:
    def __init__(self, cli: Cli, lines: TypedLines, agent: str, session_id: str | None, *, draft: bool) -> None:
        self._cli = cli
        self._lines = lines
        self._agent = agent
        self._draft = draft
        self._session_id = session_id
        self._turn: asyncio.Task[bool] | None = None
        self._stream: TurnStream | None = None
        self._is_cancelling = False
        self._cancelling: asyncio.Task[None] | None = None
        self._main = asyncio.current_task()
        self._live = sys.stdout.isatty() and not cli.out.as_json

    # --- the conversation

    async def run(self) -> None:
        """Until the input ends or `/quit`."""
        await self._open()
        asyncio.get_running_loop().add_signal_handler(signal.SIGINT, self._interrupt)
        while True:
            if self._live:
                click.echo(PROMPT, nl=False)
            line = await self._lines.next()
            if line is None or line.strip() == "/quit":
                return
            try:
                await self._take(line.strip())
            except Refused as refused:
                self._cli.out.note(f"parley: {_hint(refused)}")
            except CliError as error:
                self._cli.out.note(f"parley: {error.message}; /resume when it is back")

    async def ask_once(self, content: str) -> None:
        await self._open()
        asyncio.get_running_loop().add_signal_handler(signal.SIGINT, self._interrupt)
        if not await self._follow(content=content):
            raise CliError("the turn failed")

    async def _open(self) -> None:
        if self._session_id is None:
            agent_id = (
                self._agent if is_id("agt", self._agent) else (await find_agent(self._cli.api, self._agent))["id"]
            )
            body = {"agentId": agent_id, **({"draftMode": True} if self._draft else {})}
            session = (await self._cli.api.call("POST", "/chat/sessions", body)).data
        else:
            session = (await self._cli.api.call("GET", f"/chat/sessions/{self._session_id}")).data
        self._session_id = session["id"]
        if self._live:
            version = f"version {session['agentVersion']}" if session["agentVersion"] else "the draft"
            self._cli.out.say(f"{self._agent}, {version}, session {session['id']} (/help)")

    async def _take(self, line: str) -> None:
        match line:
            case "":
                pass
            case "/help":
                self._cli.out.say(HELP)
            case "/session":
                self._cli.out.say(str(self._session_id))
            case "/new":
                self._session_id = None
                await self._open()
            case "/resume":
                await self._follow(turn_id=await self._last_turn())
            case "/cancel":
                await self._cancel(await self._last_turn())
            case _ if line.startswith("/"):
                self._cli.out.say(f"{line.split(maxsplit=1)[0]} is not a command\n{HELP}")
            case _:
                await self._follow(content=line)

    # --- one turn

    async def _follow(self, *, content: str | None = None, turn_id: str | None = None) -> bool:
        """Shows a turn to its end, while commands are taken. False if it failed."""
        screen = self._screen()
        assert self._session_id is not None
        self._stream = TurnStream(self._cli.api, self._session_id, content=content, turn_id=turn_id)
        self._is_cancelling = False
        self._turn = asyncio.create_task(_shown(self._stream, screen))
        watching = asyncio.create_task(self._watch(screen)) if self._lines.is_terminal and self._live else None
        try:
            return await self._turn
        finally:
            tasks = [task for task in (self._turn, watching) if task is not None]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            self._turn = None

    def _screen(self) -> Screen:
        if self._cli.out.as_json:
            return JsonScreen()
        return TurnScreen() if self._live else PlainScreen()

    async def _watch(self, screen: Screen) -> None:
        """Commands that are typed while an answer comes. Other lines are the next questions."""
        kept: list[str] = []
        try:
            while (line := await self._lines.next()) is not None:
                if isinstance(screen, TurnScreen):
                    screen.disturb()
                if line.strip() == "/cancel":
                    await self._cancel_stream()
                else:
                    kept.append(line)
        finally:
            self._lines.put_back(kept)

    async def _cancel_stream(self) -> None:
        self._is_cancelling = True
        if self._stream is not None and self._stream.turn_id is not None:
            with suppress(CliError):
                await self._cancel(self._stream.turn_id)

    async def _cancel(self, turn_id: str) -> None:
        await self._cli.api.call("POST", f"/chat/sessions/{self._session_id}/turns/{turn_id}/cancel")

    async def _last_turn(self) -> str:
        path = f"/chat/sessions/{self._session_id}/messages?limit=1&order=desc"
        messages: list[dict[str, Any]] = (await self._cli.api.call("GET", path)).data
        if not messages:
            raise CliError("this session has no turn yet", Exit.NOT_FOUND)
        return str(messages[0]["turnId"])

    def _interrupt(self) -> None:
        """Ctrl-C: the first one cancels the running turn, the second one, or one at the prompt, leaves."""
        if self._turn is None or self._is_cancelling:
            if self._main is not None:
                self._main.cancel()
            return
        self._cancelling = asyncio.create_task(self._cancel_stream())


async def _shown(stream: TurnStream, screen: Screen) -> bool:
    event = ""
    async with aclosing(stream.frames()) as frames:
        async for frame in frames:
            screen.show(frame)
            event = frame.event
    return event == "done"


def _hint(refused: Refused) -> str:
    if refused.code == "turn_in_progress":
        return "a turn is running in this session: /resume shows it, /cancel ends it"
    if refused.code == "session_ended":
        return "this session has ended: /new begins another"
    return refused.message


async def chat(cli: Cli, agent: str, *, session: str | None, message: str | None, draft: bool) -> None:
    """Talk to an agent. AGENT is a slug or an id.

    The answer streams. A gateway or a worker that dies costs a moment, not a word. On a pipe, each line is a question
    and each answer is written once it is final.
    """
    with TypedLines() as lines:
        conversation = Chat(cli, lines, agent, session, draft=draft)
        try:
            await (conversation.ask_once(message) if message is not None else conversation.run())
        except asyncio.CancelledError:
            raise click.Abort from None
