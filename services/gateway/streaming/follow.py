"""Following a turn: from the log, then live, and where neither proves that nothing is missing, from the stored turn."""

from collections.abc import AsyncIterator
from typing import Any

from services.gateway.dependencies import Dependencies
from services.gateway.streaming.follower import Follower
from services.gateway.streaming.listener import FastPath, Listener
from shared.contracts.errors import ApiError, Code
from shared.contracts.frames import BEGINNING, FrameId, StreamFrame, data_of


class Interrupted(Exception):
    """This gateway drains: the stream ends here and is resumed at another one."""


async def follow(
    dependencies: Dependencies,
    workspace: str,
    turn_id: str,
    listener: Listener,
    after: FrameId = BEGINNING,
    *,
    ended: bool = False,
    whole_log_first: bool = False,
    fast_path: FastPath | None = None,
) -> AsyncIterator[list[StreamFrame]]:
    """A turn's frames after `after`, in order, without gap or repeat, up to and with the terminal one.

    An empty list is a heartbeat: nothing happened for almost 5 s. `ended`: the turn is known to be stored as
    terminal, so that a log with nothing more is not waited for. `whole_log_first`: the first batch is all that the
    log holds by then, so that text of an attempt that was given up comes together with the restart that voids it.
    Raises Interrupted, and `turn_not_found` once the turn has been deleted.

    `fast_path` gets a published frame as it comes in, and says whether it has sent it; then the frame is in no batch.
    It is offered only what directly follows everything before it, and never the terminal frame.
    """
    follower = Follower(
        dependencies,
        workspace,
        turn_id,
        listener,
        after,
        ended=ended,
        whole_log_first=whole_log_first,
        fast_path=fast_path,
    )
    while not listener.closed:
        batch = await follower.step()
        if batch is None:
            continue
        yield batch
        if batch and batch[-1].is_terminal:
            return
    raise Interrupted


async def last_frame(dependencies: Dependencies, workspace: str, turn_id: str, listener: Listener) -> StreamFrame:
    """Waits for the turn's end. Raises `draining` with the turn's id when the gateway stops."""
    try:
        async for batch in follow(dependencies, workspace, turn_id, listener):
            if batch and batch[-1].is_terminal:
                return batch[-1]
    except Interrupted:
        pass
    raise ApiError(Code.DRAINING, "The turn goes on; ask for it again.", members={"turnId": turn_id})


async def outcome(
    dependencies: Dependencies, workspace: str, turn_id: str, listener: Listener
) -> tuple[str, dict[str, Any]]:
    """As `last_frame`: `("done", data)` or `("error", data)`."""
    frame = await last_frame(dependencies, workspace, turn_id, listener)
    return frame.event, data_of(frame.data)
