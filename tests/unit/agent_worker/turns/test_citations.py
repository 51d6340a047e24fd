from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.agent_worker.turns.prompt import messages_of
from services.agent_worker.turns.state import TurnState
from shared.citations import MarkerFilter, NumberedPassages, citations_of, good_enough
from shared.contracts.sessions import Retrieval, RetrievedPassage, without_markers

Make = Any


def passage(number: int, **given: Any) -> RetrievedPassage:
    named = {"id": f"psg_{number}", "source_id": "src_1", "title": f"Title {number}", "text": f"Text {number}."}
    return RetrievedPassage.model_validate({**named, "score": 1.0, **given})


def numbered(*numbers: int) -> tuple[NumberedPassages, Retrieval]:
    passages = NumberedPassages()
    return passages, passages.numbered(Retrieval(query="q", passages=tuple(map(passage, numbers))))


def filtered(*pieces: str, known: int = 2) -> str:
    markers = MarkerFilter(lambda number: 1 <= number <= known)
    return "".join([*map(markers.add, pieces), markers.end()])


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("We deliver [1]. Always[2].", "We deliver [1]. Always[2]."),
        ("Nobody said that[9].", "Nobody said that."),
        ("So [9] it is.", "So it is."),
        ("[0]So it is [3]", "So it is "),
        ("Both [1, 9] and [7,8].", "Both [1] and ."),
        ("Use `row[9]` or\n```\nrow[9]\n``` but not this[9].", "Use `row[9]` or\n```\nrow[9]\n``` but not this."),
        ("An open ` ends with its line: [9]\nso[9]", "An open ` ends with its line: [9]\nso"),
        ("See [9](https://example.com/9) and [1](x).", "See [9](https://example.com/9) and [1](x)."),
        ("In [2024], [see 9], [ ], [1", "In [2024], [see 9], [ ], [1"),
        ("Arabic digits: [١][٩]", "Arabic digits: [١]"),
    ],
)
def test_markers_that_name_nothing_are_removed(text: str, shown: str) -> None:
    assert filtered(text) == shown
    assert filtered(*text) == shown


def test_removed_numbers_are_counted() -> None:
    markers = MarkerFilter(lambda number: number == 1)
    markers.add("One [1][9] and [1, 2] and `row[9]`.")
    assert markers.removed == 2


@given(st.lists(st.sampled_from([*"[]()`, \n19a", "[1]", "[9]", "[1, 9]", "```", "word "]), max_size=40), st.data())
def test_where_a_text_is_cut_makes_no_difference(parts: list[str], data: st.DataObject) -> None:
    text = "".join(parts)
    cuts = sorted(data.draw(st.sets(st.integers(0, len(text)), max_size=8)))
    pieces = [text[start:end] for start, end in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    assert filtered(*pieces) == filtered(text)


def test_only_an_unfinished_marker_is_held_back() -> None:
    markers = MarkerFilter(lambda number: number == 1)
    plain = "plain text, as it comes"
    assert markers.add(plain) is plain
    assert [markers.add(piece) for piece in ("so [", "1", "]", " [see", " x[", "12", "a")] == [
        "so ", "", "[1]", " [see", " x", "", "[12a",
    ]  # fmt: skip
    assert markers.end() == ""


def test_a_citation_has_its_marker_its_passage_and_its_place_in_characters() -> None:
    passages, _ = numbered(1, 2)
    text = "Ça va 🙂 [2]. Both [1, 2]; never `x[1]`, [9]."
    found = citations_of(text, passages)
    assert [(one.marker, text[one.start : one.end], one.passage.id) for one in found] == [
        (2, "[2]", "psg_2"), (1, "[1, 2]", "psg_1"), (2, "[1, 2]", "psg_2"),
    ]  # fmt: skip
    assert without_markers(text, [(one.start, one.end) for one in found]) == "Ça va 🙂. Both; never `x[1]`, [9]."


def test_a_passage_that_is_found_again_keeps_its_number() -> None:
    passages, first = numbered(1, 2)
    second = passages.numbered(Retrieval(query="more", passages=(passage(2), passage(3))))
    assert [[each.marker for each in one.passages] for one in (first, second)] == [[1, 2], [2, 3]]
    assert passages[3].title == "Title 3"
    assert 4 not in passages
    assert 0 not in passages


def test_passages_below_the_agents_threshold_are_not_used() -> None:
    rows = [passage(1, score=2.0), passage(2, score=0.5)]
    assert [row.id for row in good_enough(rows, 1.0)] == ["psg_1"]
    assert len(good_enough(rows, None)) == 2


def test_the_prompt_numbers_passages_and_asks_for_markers(make: Make) -> None:
    passages = NumberedPassages()
    found = passages.numbered(
        Retrieval(query="q", passages=(passage(1, heading='Hours > "Sunday"', page=3), passage(2)))
    )
    system = messages_of(make.agent(), make.claimed(), found)[0]["content"]
    assert '<passage number="1" title="Title 1" heading="Hours > \'Sunday\'" page="3">Text 1.</passage>' in system
    assert '<passage number="2" title="Title 2">Text 2.</passage>' in system
    assert "such as [1]" in system
    unnumbered = Retrieval(query="q", passages=(passage(1),))
    assert "[1]" not in messages_of(make.agent(), make.claimed(), unnumbered)[0]["content"]


def test_a_message_names_the_passages_of_its_searches_and_the_places_of_its_markers(make: Make) -> None:
    passages, found = numbered(1, 2)
    state = TurnState(make.agent(tools=[make.tool()]), make.claimed(), found, passages=passages)
    state.answered(make.answer("Let me see.", {"look_up": "{}"}), "msg_a", make.now)
    state.ran([], [], make.now)
    more = passages.numbered(Retrieval(query="more", passages=(passage(3),)))
    state.searched([more])
    state.answered(make.answer("It is so [3][8]."), "msg_b", make.now, "It is so [3].")
    one, two = [message for message in state.output if message.role == "assistant"]
    assert (one.knowledge, one.citations) == ((found,), None)
    assert (two.content, two.knowledge) == ("It is so [3].", (more,))
    assert two.citations is not None
    assert [citation.wire() for citation in two.citations] == [
        {"marker": 3, "start": 9, "end": 12, "passage": {"id": "psg_3", "sourceId": "src_1", "title": "Title 3"}}
    ]
