from datetime import UTC, datetime, timedelta

from services.history.turns.gaps import MAX_EXAMPLES, grouped
from shared.contracts.gaps import GapTurn

NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)


def asked(*questions: str) -> list[GapTurn]:
    """Newest first, a minute apart."""
    return [
        GapTurn(turn_id=f"trn_{number}", question=question, asked_at=NOON - timedelta(minutes=number))
        for number, question in enumerate(questions)
    ]


def test_questions_of_the_same_words_are_one_gap_and_the_most_frequent_comes_first() -> None:
    gaps = grouped(
        asked("Vegan cheese?", "Do you have gift cards", "Do you have gift cards?", "do you HAVE gift cards??")
    )
    assert [(gap.question, gap.count) for gap in gaps] == [("Do you have gift cards", 3), ("Vegan cheese?", 1)]
    assert (gaps[0].last_asked_at, gaps[0].first_asked_at) == (NOON - timedelta(minutes=1), NOON - timedelta(minutes=3))
    assert [turn.turn_id for turn in gaps[0].examples] == ["trn_1", "trn_2", "trn_3"]


def test_questions_that_share_most_words_are_one_gap() -> None:
    gaps = grouped(
        asked("do you sell gift cards here", "do you sell gift cards", "do you sell gift cards", "do you sell pizza")
    )
    assert [(gap.question, gap.count) for gap in gaps] == [("do you sell gift cards here", 3), ("do you sell pizza", 1)]


def test_a_gap_shows_each_wording_once_and_few_of_them() -> None:
    (gap,) = grouped(asked("gift cards", "gift cards", *("gift cards" + "?" * number for number in range(1, 20))))
    assert gap.count == 21
    assert len(gap.examples) == MAX_EXAMPLES == len({turn.question for turn in gap.examples})


def test_questions_without_words_and_in_any_script_are_grouped() -> None:
    gaps = grouped(asked("???", "???", "ギフトカードはありますか", "ギフトカードはありますか？", "!!"))
    assert [(gap.question, gap.count) for gap in gaps] == [("???", 2), ("ギフトカードはありますか", 2), ("!!", 1)]


def test_every_question_is_counted_also_beyond_the_groups_that_are_compared() -> None:
    gaps = grouped(asked(*(f"w{number}a w{number}b" for number in range(1000))))
    assert len(gaps) == sum(gap.count for gap in gaps) == 1000
