"""Text in pieces becomes sentences, whole and unchanged, however it was cut."""

import random

import pytest

from services.agent_worker.guardrails.sentences import MAX_SENTENCE, Sentences

TEXTS = [
    "One. Two! Three? Four… “Five.” Six.\nSeven\n\nEight e.g. 3.14 and www.example.org stay.",
    "一。二！三？「四。」五",
    "x" * 5000,
    "word " * 1000,
    "",
    "\n\n\n",
]


def split(pieces: list[str]) -> tuple[list[str], list[str]]:
    sentences, whole = Sentences(), list[str]()
    for piece in pieces:
        sentences.add(piece)
        whole += sentences.take()
    return whole, sentences.rest()


def test_a_sentence_is_whole_with_the_space_behind_it() -> None:
    assert split(["Hello the", "re. How are", " you? Fi", "ne"]) == (["Hello there. ", "How are you? "], ["Fine"])


def test_numbers_and_names_of_hosts_are_not_cut() -> None:
    assert split(["It costs 3.14 at a.example"]) == ([], ["It costs 3.14 at a.example"])


@pytest.mark.parametrize("text", TEXTS)
def test_nothing_is_lost_or_changed_however_the_text_is_cut(text: str) -> None:
    numbers = random.Random(7)
    for _ in range(50):
        cuts = sorted(numbers.choices(range(len(text) + 1), k=numbers.randint(0, 30)))
        pieces = [text[start:end] for start, end in zip([0, *cuts], [*cuts, len(text)], strict=True)]
        whole, rest = split(pieces)
        assert "".join([*whole, *rest]) == text


@pytest.mark.parametrize("text", TEXTS)
def test_at_most_one_bounded_sentence_is_held_back(text: str) -> None:
    sentences, shown = Sentences(), 0
    for at, character in enumerate(text):
        sentences.add(character)
        shown += sum(map(len, sentences.take()))
        assert at + 1 - shown <= MAX_SENTENCE
