"""The book of the scripted model: what it would bill for each question."""

from deploy.demo.answer import usage_of
from deploy.demo.book import QUESTIONS_REMEMBERED, Book, Told

ASKED = [{"role": "user", "content": "why?"}]


def test_whole_and_cut_streams_are_billed_apart() -> None:
    book = Book()
    book.note(ASKED, usage_of(10, 30), Told(pieces=30, is_whole=True))
    book.note(ASKED, usage_of(10, 30), Told(pieces=7))
    assert book.questions == {"why?": {"wholeCalls": 1, "wholeTokens": 40, "cutCalls": 1, "cutTokens": 17}}


def test_the_oldest_questions_are_forgotten() -> None:
    book = Book()
    for number in range(QUESTIONS_REMEMBERED + 1):
        book.note([{"role": "user", "content": str(number)}], usage_of(1, 1), Told())
    assert len(book.questions) == QUESTIONS_REMEMBERED
    assert "0" not in book.questions
