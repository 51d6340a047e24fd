"""Following a session: its turns in the order of their numbers, and the frames of the one that runs."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack
from types import TracebackType
from typing import Final, Self

from services.gateway.dependencies import Dependencies
from services.gateway.streaming.follow import Interrupted, follow
from services.gateway.streaming.listener import FastPath, Listener
from shared.contracts.errors import ApiError, Code
from shared.contracts.frames import BEGINNING, FrameId, StreamFrame, data_of, scoped
from shared.contracts.session_events import end_of, session_ended, turn_ended, turn_ended_live, turn_started
from shared.contracts.session_turns import SessionTurns
from shared.contracts.sessions import SessionState
from shared.contracts.turns import ENDED, StoredTurn

TURNS_PER_READ: Final = 20
RETRY_S: Final = 0.2


class SessionFollower:
    """One reader's position in a session. `async with` it, then iterate over `batches` once.

    `listener` hears the session's channel and was subscribed before the first read, so nothing is missed after that.
    What the channel loses is found by asking history at each heartbeat of silence.

    `with_frames`: also the frames of turns. A reader without a position gets those of the turns that end from now on,
    and earlier turns as a start and an end. A reader with a position gets the frames of all turns after it.
    """

    def __init__(
        self,
        dependencies: Dependencies,
        workspace: str,
        session_id: str,
        listener: Listener,
        *,
        after: tuple[StoredTurn, FrameId] | None = None,
        with_frames: bool = False,
    ) -> None:
        self._dependencies = dependencies
        self._session = workspace, session_id
        self._listener = listener
        self._with_frames = with_frames
        self._subscription = AsyncExitStack()
        # The number of the turn to tell next, or to go on with; in the latter case, that turn and the position in it.
        self._number = 1
        self._open: str | None = None
        self._after = BEGINNING
        # Turns up to this number that have ended are told without frames. None: not known before the first read.
        self._past: int | None = None
        if after is not None:
            self._resume(*after)
            self._past = 0

    def _resume(self, stored: StoredTurn, frame: FrameId) -> None:
        if is_whole(stored, frame):
            self._number = stored.number + 1
        else:
            self._number, self._open, self._after = stored.number, stored.turn.id, frame

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._subscription.aclose()

    async def batches(self, fast_path: FastPath) -> AsyncIterator[Sequence[StreamFrame]]:
        """Events and frames in order, up to the session's end. An empty batch is a heartbeat.

        Raises Interrupted when the gateway drains, and `session_not_found` once the session has been deleted.
        """
        while not self._listener.closed:
            self._listener.gap = False
            self._listener.take()
            page = await self._page()
            if page is None:
                await self._listener.wait()
                yield []
                continue
            async for batch in self._told(page, fast_path):
                yield batch
            if page.next is not None:
                self._number = max(self._number, page.next) if self._open is None else self._number
            elif page.session.status == "ended" and self._open is None:
                yield [session_ended(page.session)]
                return
            elif self._with_frames and self._open is not None:
                # The turn's channel could not be heard.
                await asyncio.sleep(RETRY_S)
                yield []
            elif not self._listener.closed:
                async for batch in self._silence():
                    yield batch
        raise Interrupted

    async def _page(self) -> SessionTurns | None:
        """None while history does not answer."""
        try:
            return await self._dependencies.history.session_turns(*self._session, self._number, TURNS_PER_READ)
        except ApiError as error:
            if error.code is Code.DEPENDENCY_UNAVAILABLE:
                return None
            raise

    async def _told(self, page: SessionTurns, fast_path: FastPath) -> AsyncIterator[Sequence[StreamFrame]]:
        """What the page has that this reader has not."""
        self._prepare(page)
        facts: list[StreamFrame] = []
        for stored in page.turns:
            is_open = stored.turn.id == self._open
            if not is_open:
                facts.append(turn_started(stored))
                self._number, self._open, self._after = stored.number, stored.turn.id, BEGINNING
            if self._has_frames(stored, is_open=is_open):
                if facts:
                    yield facts
                    facts = []
                async for batch in self._frames(stored, fast_path):
                    yield batch
                if self._open is not None:
                    return
            elif stored.turn.status in ENDED:
                facts.append(turn_ended(stored))
                self._close(stored)
        if facts:
            yield facts

    def _prepare(self, page: SessionTurns) -> None:
        if self._open is not None and not any(stored.turn.id == self._open for stored in page.turns):
            self._open = None  # It was withdrawn, because its session ended while it was admitted.
        if self._past is None:
            self._past = page.session.turn_count

    def _has_frames(self, stored: StoredTurn, *, is_open: bool) -> bool:
        is_past = stored.turn.status in ENDED and stored.number <= (self._past or 0) and not is_open
        return self._with_frames and not is_past

    def _close(self, stored: StoredTurn) -> None:
        self._number, self._open = stored.number + 1, None

    async def _frames(self, stored: StoredTurn, fast_path: FastPath) -> AsyncIterator[Sequence[StreamFrame]]:
        """The rest of one turn. It ends early where the turn is gone, or its channel cannot be heard."""
        workspace, turn = self._session[0], stored.turn

        def forward(frame: bytes) -> bool:
            return fast_path(scoped(frame, turn.id))

        try:
            listener = await self._subscription.enter_async_context(self._dependencies.hub.listen(workspace, turn.id))
            ended = turn.status in ENDED
            async for batch in follow(
                self._dependencies, workspace, turn.id, listener, self._after, ended=ended, fast_path=forward
            ):
                yield self._translated(stored, batch)
        except ApiError as error:
            if error.code not in (Code.DEPENDENCY_UNAVAILABLE, Code.TURN_NOT_FOUND):
                raise
        finally:
            await self._subscription.aclose()

    def _translated(self, stored: StoredTurn, batch: Sequence[StreamFrame]) -> Sequence[StreamFrame]:
        """The frames with ids of the session's stream, and its own event for the turn's terminal frame."""
        frames = [StreamFrame(None, scoped(frame.data, stored.turn.id)) for frame in batch]
        if frames and batch[-1].is_terminal:
            last = batch[-1]
            self._close(stored)
            frames[-1] = turn_ended_live(stored, last.event, data_of(last.data), last.id or end_of(stored))
        return frames

    async def _silence(self) -> AsyncIterator[Sequence[StreamFrame]]:
        """Waits until there is something to read; an empty batch is a heartbeat."""
        while True:
            await self._listener.wait()
            silent = self._listener.silent
            if self._listener.take() or self._listener.gap or self._listener.closed:
                return
            if silent:
                yield []
                if await self._has_changed():
                    return

    async def _has_changed(self) -> bool:
        try:
            state = await self._dependencies.session_status.state(*self._session)
        except ApiError:
            return False
        return state is None or self._is_news(state)

    def _is_news(self, state: SessionState) -> bool:
        if self._open is None:
            return state.status == "ended" or state.turn_count >= self._number
        return not state.active or state.turn_count > self._number


def is_whole(stored: StoredTurn, frame: FrameId) -> bool:
    """Whether nothing of the turn comes after the frame."""
    return stored.turn.status in ENDED and frame >= end_of(stored)
