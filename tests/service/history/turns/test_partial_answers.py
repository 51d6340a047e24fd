"""Turns that history ends itself have the citations that their worker would have given them."""

from shared.contracts.frames import FrameId, encode
from shared.contracts.sessions import Retrieval, RetrievedPassage
from shared.run_log.keys import VERSION, log_key
from tests.service.history.running import WORKSPACE, History


async def test_the_markers_of_a_lost_workers_text_are_mapped_or_removed(history: History) -> None:
    await history.publish()
    turn = (await history.admit(await history.session())).turn
    await history.claim(turn.id)
    passage = RetrievedPassage(id="psg_1", source_id="src_1", title="Hours", text="At nine.", score=0.5, marker=1)
    frame = encode("kb_retrieval", Retrieval(query="When?", passages=(passage,)).wire(), FrameId(1, 1))
    await history.queue.xadd(log_key(WORKSPACE, turn.id), {"v": VERSION, "f": frame}, id="1-1")
    for seq, text in enumerate(("At nine [", "1], not [7] later."), 2):
        frame = encode("delta", {"text": text}, FrameId(1, seq))
        await history.queue.xadd(log_key(WORKSPACE, turn.id), {"v": VERSION, "f": frame}, id=f"1-{seq}")
    await history.client.cancel(WORKSPACE, turn.id)
    await history.lapse(turn.id)
    await history.wait_for_end(turn.id)
    (message,) = (await history.client.turn(WORKSPACE, turn.id)).output
    assert message.content == "At nine [1], not later."
    assert [(each.marker, each.start, each.end, each.passage.title) for each in message.citations or ()] == [
        (1, 8, 11, "Hours")
    ]
    assert [search.query for search in message.knowledge or ()] == ["When?"]


async def test_numbers_in_brackets_stay_where_nothing_was_retrieved(history: History) -> None:
    await history.publish()
    turn = (await history.admit(await history.session())).turn
    await history.claim(turn.id)
    await history.write(turn.id, 1, "It is in row [7].")
    await history.client.cancel(WORKSPACE, turn.id)
    await history.lapse(turn.id)
    await history.wait_for_end(turn.id)
    (message,) = (await history.client.turn(WORKSPACE, turn.id)).output
    assert (message.content, message.citations, message.knowledge) == ("It is in row [7].", None, None)
