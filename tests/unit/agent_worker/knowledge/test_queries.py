from services.agent_worker.knowledge.queries import merged, queries_of
from shared.contracts.sessions import RetrievedPassage


def passage(name: str, score: float) -> RetrievedPassage:
    return RetrievedPassage(id=name, source_id="s", title="", text=name, score=score)


def names(passages: list[RetrievedPassage]) -> list[str]:
    return [each.id for each in passages]


def test_one_question_is_asked_alone_and_with_the_message_before() -> None:
    assert queries_of("And on Sundays?", None) == (["And on Sundays?"], None)
    assert queries_of("And on Sundays?", "When do you open?") == (
        ["And on Sundays?"],
        "When do you open? And on Sundays?",
    )


def test_several_questions_are_asked_one_by_one() -> None:
    questions, context = queries_of("When do you open? Do you deliver to Berlin? OK?", "Hello")
    assert questions == ["When do you open?", "Do you deliver to Berlin?"]
    assert context is None
    assert queries_of("営業時間は何時ですか？駐車場はありますか？", None)[0] == [
        "営業時間は何時ですか？",
        "駐車場はありますか？",
    ]


def test_the_number_of_questions_is_bounded() -> None:
    assert len(queries_of("Is this a question? " * 1000, None)[0]) == 3


def test_each_question_gets_its_share_of_the_passages() -> None:
    first = [passage("a", 9.0), passage("b", 8.0), passage("c", 7.0)]
    second = [passage("x", 2.0), passage("a", 1.0)]
    assert names(merged([first, second], [], 3)) == ["a", "b", "x"]


def test_a_passage_that_two_questions_find_comes_once_with_its_better_score() -> None:
    found = merged([[passage("a", 1.0)], [passage("a", 3.0)]], [], 4)
    assert [(each.id, each.score) for each in found] == [("a", 3.0)]


def test_the_message_before_helps_a_question_that_finds_nothing() -> None:
    assert names(merged([[]], [passage("hours", 5.0)], 4)) == ["hours"]


def test_the_message_before_does_not_outvote_the_question() -> None:
    found = merged([[passage("new", 6.0)]], [passage("old", 8.0), passage("new", 6.0)], 4)
    assert names(found) == ["new", "old"]
