import sqlite3
from contextlib import closing

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.agent_worker.knowledge.index import build, in_memory
from services.agent_worker.knowledge.terms import MAX_TERMS, indexed, match_expression
from shared.contracts.agents import Passage


def found(query: str, *texts: str) -> list[str]:
    """The texts that the query finds, best first."""
    index = in_memory(Passage(source_id="s", title="", text=text) for text in texts)
    expression = match_expression(query)
    passages = index.search(expression, 10) if expression else []
    index.close()
    return [passage.text for passage in passages]


@given(st.text(max_size=300))
@settings(max_examples=200, deadline=None)
def test_every_text_is_a_valid_expression_and_can_be_indexed(text: str) -> None:
    with closing(sqlite3.connect(":memory:")) as connection:
        build(connection, [Passage(source_id="s", title=text, text=text)])
        if expression := match_expression(text):
            connection.execute("SELECT rowid FROM words WHERE words MATCH ?", (expression,)).fetchall()


def test_a_long_question_is_cut_to_a_bounded_expression() -> None:
    assert match_expression(" ".join(f"word{number}" for number in range(10_000))).count(" OR ") == MAX_TERMS - 1
    assert match_expression("時" * 100_000).count(" OR ") == 0


def test_scripts_without_spaces_are_words_of_two_characters() -> None:
    assert indexed("abc営業時間 x") == "abc 営業 業時 時間 間  x"
    assert match_expression("営業時間") == '"営業" OR "業時" OR "時間"'


@pytest.mark.parametrize("query", ["時", "間", "営"])
def test_a_single_character_is_found_wherever_it_stands(query: str) -> None:
    assert found(query, "営業時間", "定休日") == ["営業時間"]


def test_a_word_in_another_script_beside_an_unspaced_one_is_a_word() -> None:
    assert found("11", "毎日午前11時から", "x") == ["毎日午前11時から"]


def test_vowel_signs_are_parts_of_words() -> None:
    assert match_expression("मेरा पार्सल?") == '"मेरा" OR "पार्सल"'
    assert found("पार्सल", "पार्क", "मेरा पार्सल") == ["मेरा पार्सल"]
    assert found("กิน", "กัน", "กินข้าว") == ["กินข้าว"]


def test_marks_that_texts_leave_out_do_not_matter() -> None:
    assert found("كتاب", "كِتَاب") == ["كِتَاب"]
    assert found("creme", "Cre\u0300me", "Crème") == ["Cre\u0300me", "Crème"]
