"""Passages: where documents are cut, and what each piece carries."""

from itertools import pairwise

import pytest

from services.agent_worker.ingest.blocks import Block
from services.agent_worker.ingest.cutting import MOST_WORDS, passages
from services.agent_worker.ingest.sentences import pieces, sentences, word_count


def sentence(number: int, words: int = 20) -> str:
    return f"Sentence {number} " + "word " * (words - 3) + "end."


def test_sentences_end_where_unicode_says_and_not_after_abbreviations() -> None:
    assert sentences("It costs 3.50 e.g. at Dr. Who's. Really? Yes!") == [
        "It costs 3.50 e.g. at Dr. Who's.",
        "Really?",
        "Yes!",
    ]
    assert sentences("営業時間は九時です。土曜は休みです。") == ["営業時間は九時です。", "土曜は休みです。"]
    assert sentences("यह खुला है। वह बंद है।") == ["यह खुला है।", "वह बंद है।"]


def test_a_long_section_is_cut_between_sentences_with_an_overlap() -> None:
    text = " ".join(sentence(number) for number in range(60))
    found = list(passages([Block("heading", "Long", level=1), Block("text", text)]))
    assert len(found) > 3
    for passage in found:
        assert passage["headingPath"] == ["Long"]
        assert 120 <= word_count(passage["text"]) <= MOST_WORDS
        assert passage["text"].endswith("end.")
    for before, after in pairwise(found):
        assert after["text"].partition("end.")[0] in before["text"]
    assert [passage["position"] for passage in found] == list(range(len(found)))
    joined = " ".join(passage["text"] for passage in found)
    assert all(f"Sentence {number} " in joined for number in range(60))


def test_short_sections_are_joined_and_keep_their_headings() -> None:
    blocks = [
        Block("heading", "Shop", level=1),
        Block("heading", "Hours", level=2),
        Block("text", "Open daily."),
        Block("heading", "Parking", level=2),
        Block("text", "Behind the house."),
    ]
    (passage,) = passages(blocks)
    assert passage["headingPath"] == ["Shop"]
    assert passage["text"] == "Hours\n\nOpen daily.\n\nParking\n\nBehind the house."


def test_each_piece_of_a_long_table_has_the_header() -> None:
    rows = [Block("row", f"Item {number} | {number} euros", header="Name | Price") for number in range(200)]
    found = list(passages(rows))
    assert len(found) > 2
    assert all(passage["text"].startswith("Name | Price\n") for passage in found)
    assert all(passage["text"].count("Name | Price") == 1 for passage in found)


def test_passages_say_on_which_page_they_begin() -> None:
    blocks = [Block("text", sentence(number, 190), page=number) for number in (1, 2, 3, 4)]
    found = [(passage["page"], passage["text"].split()[1]) for passage in passages(blocks)]
    assert found == [(number, str(number)) for number, _ in found]
    assert found[0] == (1, "1")


@pytest.mark.parametrize("line", ["x" * 100_000, "語" * 20_000, "word " * 20_000])
def test_a_text_without_sentences_is_cut_all_the_same(line: str) -> None:
    found = list(passages([Block("text", line)]))
    assert len(found) > 10
    assert all(len(passage["text"]) <= MOST_WORDS * 6 * 2 for passage in found)
    assert sum(len(part) for part in pieces("x" * 5_000, 100)) == 5_000
