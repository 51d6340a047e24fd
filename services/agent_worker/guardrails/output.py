"""The text of one model call on its way to the client: held back until its sentence is whole and has been checked."""

from collections.abc import Awaitable, Callable

from services.agent_worker.guardrails.sentences import Sentences


class CheckedText:
    """`add` never waits. `drain` checks the sentences that are whole and puts them; `end` does so with the rest.

    `check` raises what ends the turn; nothing of the sentences that it was given is put then.
    """

    def __init__(self, check: Callable[[list[str]], Awaitable[list[str]]], put: Callable[[str], None]) -> None:
        self.received: list[str] = []
        self._sentences = Sentences()
        self._check = check
        self._put = put
        self._is_fresh = False

    def add(self, text: str) -> None:
        self.received.append(text)
        self._sentences.add(text)
        self._is_fresh = True

    async def drain(self) -> None:
        if self._is_fresh:
            self._is_fresh = False
            await self._pass(self._sentences.take())

    async def end(self) -> None:
        await self._pass(self._sentences.rest())

    async def _pass(self, whole: list[str]) -> None:
        if not whole:
            return
        for text in await self._check(whole):
            if text:
                self._put(text)
