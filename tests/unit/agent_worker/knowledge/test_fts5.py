import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from services.agent_worker.knowledge import fts5, index_files
from services.agent_worker.knowledge.fts5 import Fts5Retriever
from services.agent_worker.knowledge.index_files import IndexFiles
from services.agent_worker.knowledge.retriever import VersionKey
from services.agent_worker.own_folder import OwnFolder
from shared.contracts.agents import Passage

KEY = VersionKey("acme", "agt_1", 1)
PASSAGES = [
    Passage(
        source_id="src_1",
        title="Opening hours",
        text="We are open daily from 11 am to 10 pm.",
        url="https://pizza.example/hours",
    ),
    Passage(source_id="src_2", title="Delivery area", text="We deliver to 80202, 80203 and 80205."),
    Passage(source_id="src_3", title="Menu", text="Crème brûlée, Margherita and Diavola."),
    Passage(source_id="src_4", title="営業時間", text="毎日午前11時から午後10時まで営業しています。"),
    Passage(source_id="src_5", title="Öffnungszeiten", text="Täglich geöffnet, außer an Feiertagen."),
]


class Shelf:
    """The passages of a version, and how often they were asked for."""

    def __init__(self) -> None:
        self.asked = 0
        self.passages = list(PASSAGES)

    async def load(self, version: VersionKey) -> list[Passage]:
        self.asked += 1
        await asyncio.sleep(0)
        return self.passages


async def found(retriever: Fts5Retriever, query: str, version: VersionKey = KEY, top_k: int = 4) -> list[str]:
    return [passage.source_id for passage in await retriever.search(version, query, top_k)]


@pytest.mark.parametrize(
    ("query", "best"),
    [
        ("What are your opening hours?", "src_1"),
        ("Do you deliver to 80202?", "src_2"),
        ("creme BRULEE", "src_3"),
        ("営業時間は何時ですか", "src_4"),
        ("Wann ist geoffnet? ÖFFNUNGSZEITEN", "src_5"),
    ],
)
async def test_the_passage_that_answers_comes_first(tmp_path: Path, query: str, best: str) -> None:
    retriever = Fts5Retriever(Shelf().load, tmp_path)
    assert (await found(retriever, query))[0] == best
    await retriever.close()


async def test_a_passage_comes_back_whole_with_a_score_that_falls(tmp_path: Path) -> None:
    retriever = Fts5Retriever(Shelf().load, tmp_path)
    passages = await retriever.search(KEY, "open daily hours 80202", 4)
    found = passages[0].model_dump(exclude={"score", "marker"})
    assert found == PASSAGES[0].model_dump() | {"id": PASSAGES[0].name}
    assert [passage.score for passage in passages] == sorted((passage.score for passage in passages), reverse=True)
    assert all(passage.score > 0 for passage in passages)
    assert len(await retriever.search(KEY, "open daily hours 80202", 1)) == 1
    await retriever.close()


async def test_a_single_passage_is_found(tmp_path: Path) -> None:
    """FTS5 gives words of most passages a weight of a millionth: it must still be found."""
    shelf = Shelf()
    shelf.passages = PASSAGES[:1]
    retriever = Fts5Retriever(shelf.load, tmp_path)
    passages = await retriever.search(KEY, "When do you open?", 4)
    assert [passage.source_id for passage in passages] == ["src_1"]
    assert passages[0].score > 0
    await retriever.close()


async def test_nothing_that_fits_finds_nothing(tmp_path: Path) -> None:
    retriever = Fts5Retriever(Shelf().load, tmp_path)
    for query in ("xylophone", "", "   ", "?!", "\0"):
        assert await found(retriever, query) == []
    await retriever.close()


@pytest.mark.parametrize(
    "query",
    [
        '"',
        '"" OR ""',
        "hours AND",
        "NEAR(hours, 2)",
        "title:hours",
        "hours*",
        "^hours",
        "(((",
        "-hours",
        "hours NOT open",
        "a\0b",
        "'; DROP TABLE words",
        "{title}: x",
        "+",
        "\ud83d".encode("utf-16", "surrogatepass").decode("utf-16", "replace"),
    ],
)
async def test_a_query_is_text_and_never_syntax(tmp_path: Path, query: str) -> None:
    retriever = Fts5Retriever(Shelf().load, tmp_path)
    await retriever.search(KEY, query, 4)
    assert (await found(retriever, "opening hours"))[0] == "src_1"
    await retriever.close()


async def test_one_build_serves_all_that_wait_for_it(tmp_path: Path) -> None:
    shelf = Shelf()
    retriever = Fts5Retriever(shelf.load, tmp_path)
    answers = await asyncio.gather(*(found(retriever, "hours") for _ in range(50)))
    assert all(answer == answers[0] for answer in answers)
    assert shelf.asked == 1
    await retriever.close()


async def test_a_waiting_turn_that_is_cancelled_does_not_end_the_build(tmp_path: Path) -> None:
    gate, shelf = asyncio.Event(), Shelf()

    async def load(version: VersionKey) -> list[Passage]:
        await gate.wait()
        return await shelf.load(version)

    retriever = Fts5Retriever(load, tmp_path)
    first, second = asyncio.create_task(found(retriever, "hours")), asyncio.create_task(found(retriever, "hours"))
    await asyncio.sleep(0)
    first.cancel()
    gate.set()
    assert (await second)[0] == "src_1"
    await asyncio.gather(first, return_exceptions=True)
    assert shelf.asked == 1
    await retriever.close()


async def test_a_failed_load_is_tried_again(tmp_path: Path) -> None:
    shelf, failures = Shelf(), [ConnectionError("away")]

    async def load(version: VersionKey) -> list[Passage]:
        if failures:
            raise failures.pop()
        return await shelf.load(version)

    retriever = Fts5Retriever(load, tmp_path)
    with pytest.raises(ConnectionError):
        await found(retriever, "hours")
    assert (await found(retriever, "hours"))[0] == "src_1"
    await retriever.close()


async def test_another_worker_finds_the_index_on_disk(tmp_path: Path) -> None:
    first = Fts5Retriever(Shelf().load, tmp_path)
    await first.publish(KEY, PASSAGES)
    shelf = Shelf()
    second = Fts5Retriever(shelf.load, tmp_path)
    assert (await found(second, "hours"))[0] == "src_1"
    assert shelf.asked == 0
    await first.close()
    await second.close()


async def test_a_draft_is_never_kept(tmp_path: Path) -> None:
    shelf = Shelf()
    retriever = Fts5Retriever(shelf.load, tmp_path)
    draft = VersionKey("acme", "agt_1", 0)
    assert (await found(retriever, "hours", draft))[0] == "src_1"
    shelf.passages = PASSAGES[1:]
    assert "src_1" not in await found(retriever, "hours", draft)
    assert list(tmp_path.iterdir()) == []
    await retriever.close()


async def test_workspaces_and_versions_do_not_share_an_index(tmp_path: Path) -> None:
    shelf = Shelf()
    retriever = Fts5Retriever(shelf.load, tmp_path)
    for key in (KEY, VersionKey("other", "agt_1", 1), VersionKey("acme", "agt_1", 2), VersionKey("acme", "agt_2", 1)):
        await found(retriever, "hours", key)
    assert shelf.asked == 4
    await retriever.close()


async def test_the_directory_stays_within_its_bound(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fts5, "OPEN_INDEXES", 3)
    retriever = Fts5Retriever(Shelf().load, tmp_path, max_bytes=100_000)
    for number in range(1, 13):
        assert (await found(retriever, "hours", VersionKey("acme", "agt_1", number)))[0] == "src_1"
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) <= 100_000
    assert (await found(retriever, "hours", VersionKey("acme", "agt_1", 1)))[0] == "src_1"
    await retriever.close()


async def test_a_damaged_file_is_built_anew(tmp_path: Path) -> None:
    first = Fts5Retriever(Shelf().load, tmp_path)
    await found(first, "hours")
    await first.close()
    for path in tmp_path.iterdir():
        path.write_bytes(b"not a database" * 1000)
    shelf = Shelf()
    second = Fts5Retriever(shelf.load, tmp_path)
    assert (await found(second, "hours"))[0] == "src_1"
    assert shelf.asked == 1
    await second.close()


async def test_a_directory_that_cannot_be_written_costs_memory_and_no_answer(tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file stands where the directory should be")
    retriever = Fts5Retriever(Shelf().load, tmp_path / "cache")
    assert (await found(retriever, "hours"))[0] == "src_1"
    await retriever.drop(KEY)
    assert (await found(retriever, "hours"))[0] == "src_1"
    await retriever.close()


async def test_a_dropped_version_leaves_no_file(tmp_path: Path) -> None:
    retriever = Fts5Retriever(Shelf().load, tmp_path)
    await found(retriever, "hours")
    await retriever.drop(KEY)
    await retriever.drop(KEY)
    assert list(tmp_path.iterdir()) == []
    await retriever.close()


def test_two_threads_at_once_make_one_temporary_directory(monkeypatch: pytest.MonkeyPatch) -> None:
    files, makers = IndexFiles(None, 1 << 30), list[str]()
    second_maker = threading.Event()

    def directory(prefix: str) -> OwnFolder:
        makers.append("")
        if len(makers) > 1:
            second_maker.set()
        second_maker.wait(0.3)  # The window in which the other thread sees no directory yet.
        return OwnFolder(prefix)

    monkeypatch.setattr(index_files, "OwnFolder", directory)
    keys = [VersionKey("acme", "agt_1", number) for number in (1, 2)]
    with ThreadPoolExecutor(2) as threads:
        indexes = list(threads.map(lambda key: files.create(key, PASSAGES), keys))
    assert len(makers) == 1
    for index in indexes:
        index.close()
    files.close()


async def test_closing_an_index_during_a_search_does_not_hold_the_event_loop(tmp_path: Path) -> None:
    retriever = Fts5Retriever(Shelf().load, tmp_path)
    await found(retriever, "hours")
    stuck, go_on = threading.Event(), threading.Event()
    index = retriever._open[KEY]

    def hold() -> None:
        with index._lock:
            stuck.set()
            assert go_on.wait(10)

    holder = threading.Thread(target=hold)
    holder.start()
    await asyncio.to_thread(stuck.wait, 10)
    asyncio.get_running_loop().call_later(0, go_on.set)
    # On the event loop this would wait for the lock, which only the event loop can free.
    await asyncio.wait_for(retriever.drop(KEY), 20)
    await asyncio.to_thread(holder.join)
    await retriever.close()
