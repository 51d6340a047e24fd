from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.agent_worker.knowledge.index import in_memory
from services.agent_worker.knowledge.languages import PLAIN, stemmer_of
from services.agent_worker.knowledge.question import MAX_TERMS, affordable, expression, terms_of
from services.agent_worker.knowledge.terms import Stems, indexed, words_and_pairs
from shared.contracts.agents import Passage
from shared.words import clusters, is_unspaced, normalized, overlapping, pieces, separated


def found(query: str, *texts: str) -> list[str]:
    """The texts that the query finds, best first."""
    index = in_memory(Passage(source_id="s", title="", text=text) for text in texts)
    passages = index.search(query, 10)
    index.close()
    return [passage.text for passage in passages]


def terms(text: str, language: str = PLAIN) -> str:
    return " ".join(indexed(*words_and_pairs(normalized(text)), Stems(language)).split())


def asked(text: str) -> str:
    return expression(terms_of(pieces(normalized(text)), [Stems(PLAIN)]))


def detected(text: str) -> str | None:
    text = normalized(text)
    return stemmer_of(text, pieces(text))


@given(st.text(max_size=300), st.text(max_size=100))
@settings(max_examples=200, deadline=None)
def test_every_text_can_be_indexed_and_asked(text: str, other: str) -> None:
    index = in_memory([Passage(source_id="s", title=text, text=text), Passage(source_id="s", title="", text=other)])
    index.search(text, 3)
    index.search(other, 3)
    index.close()


def test_a_long_question_is_cut_to_a_bounded_expression() -> None:
    assert asked(" ".join(f"word{number}" for number in range(10_000))).count(" OR ") == MAX_TERMS - 1
    assert asked("時" * 100_000).count(" OR ") == 0


def test_scripts_without_spaces_are_words_of_two_characters() -> None:
    assert terms("abc営業時間 x") == "abc x 営 営業 業時 時間 間"
    assert asked("営業時間") == '"営業" OR "業時" OR "時間"'


def test_vowel_signs_stay_with_their_character_in_pairs() -> None:
    assert terms("เวลา") == "เว เวลา ลา"
    assert terms("กินข้าว") == "กิ กิน นข้า ข้าว ว"


@pytest.mark.parametrize("query", ["時", "間", "営"])
def test_a_single_character_is_found_wherever_it_stands(query: str) -> None:
    assert found(query, "営業時間", "定休日") == ["営業時間"]


def test_a_word_in_another_script_beside_an_unspaced_one_is_a_word() -> None:
    assert found("11", "毎日午前11時から", "x") == ["毎日午前11時から"]


def test_vowel_signs_are_parts_of_words() -> None:
    assert asked("मेरा पार्सल?") == '"मेरा" OR "पार्सल"'
    assert found("पार्सल", "पार्क", "मेरा पार्सल") == ["मेरा पार्सल"]
    assert found("กิน", "กัน", "กินข้าว") == ["กินข้าว"]


def test_marks_that_texts_leave_out_do_not_matter() -> None:
    assert found("كتاب", "كِتَاب") == ["كِتَاب"]
    assert found("creme", "Cre\u0300me", "Crème") == ["Cre\u0300me", "Crème"]


@pytest.mark.parametrize(
    ("query", "text"),
    [
        ("पेड", "घना पे\u095c"),
        ("पे\u0921\u093c", "घना पे\u095c"),
        ("पे\u095c", "घना पे\u0921\u093c"),
        ("\u0929", "घना \u0928\u093c"),
        ("\u0928", "घना \u0929"),
        ("น้ำ", "กินน้\u0e4d\u0e32"),
        ("１２", "第１２条，三"),
        ("12", "第１２条"),
        ("😀 hi😀there", "hi there"),
    ],
)
def test_one_character_that_is_written_in_two_ways_is_one_word(query: str, text: str) -> None:
    assert found(query, "xylophone", text) == [text]


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("How do I return the parcel that you sent to me?", "english"),
        ("Wie kann ich das Paket zurückgeben, und was ist mit der Rechnung?", "german"),
        ("¿Cómo puede la tienda enviar el paquete a los clientes de una ciudad?", "spanish"),
        ("Cum poate magazinul să trimită un colet care este în depozit?", "romanian"),
        ("Bu paket için ne kadar ve nasıl ödeme olarak", "turkish"),
        ("Làm thế nào để trả lại gói hàng và được hoàn tiền trong một năm?", PLAIN),
        ("Как вернуть посылку?", "russian"),
        ("Як повернути посилку її?", PLAIN),
        ("Πώς επιστρέφω το δέμα;", "greek"),
        ("كيف أعيد الطرد؟", "arabic"),
        ("چگونه بسته را پس بدهم؟", "persian"),
        ("मैं पार्सल कैसे लौटाऊँ?", "hindi"),
        ("SKU 4711", None),
        ("営業時間", None),
    ],
)
def test_the_stemmer_follows_the_language(text: str, language: str | None) -> None:
    assert detected(text) == language


@pytest.mark.parametrize(
    ("query", "text"),
    [
        ("deliveries", "The delivery of the parcel is free, and it is with you on the next day."),
        ("Rechnungen", "Die Rechnung ist in der Mail, und das Paket kommt mit der Post."),
        ("посылки", "Посылка придёт завтра."),
        ("faturalar", "Fatura bu paket için ve bir gün sonra gelir."),
        ("λογαριασμοί", "Ο λογαριασμός έρχεται αύριο."),
    ],
)
def test_an_inflected_word_is_found(query: str, text: str) -> None:
    assert found(query, "xylophone", text) == [text]


def test_each_language_of_an_index_has_its_stems() -> None:
    german = "Die Rechnung ist in der Mail, und das Paket kommt mit der Post."
    english = "The delivery of the parcel is free, and it is with you on the next day."
    assert found("Rechnungen", german, english)[0] == german
    assert found("deliveries", german, english)[0] == english


def test_a_misspelt_word_is_found() -> None:
    text = "The warranty of the machine is two years, and it is not for the filters."
    assert found("waranty", "Something else that is of no use to you", text) == [text]
    assert found("гарантя", "Гарантия два года.", "Доставка завтра.") == ["Гарантия два года."]


def test_a_word_like_no_other_finds_nothing() -> None:
    assert found("xylophone", "The warranty of the machine", "is for two years") == []


def test_a_phrase_decides_between_passages_with_the_same_words() -> None:
    first, second = "thành phố lớn có công viên", "lớn công thành có viên phố"
    assert found("công viên", second, first)[0] == first


def test_the_commonest_terms_are_left_out_of_a_search_that_would_match_too_much() -> None:
    groups = [("the",), ("of",), ("warranty",), ("machine",), ("and",)]
    shares = {"the": 0.9, "of": 0.8, "and": 0.7}
    assert affordable(groups, shares, 100) == groups
    assert affordable(groups, shares, 100_000) == [("machine",), ("warranty",), ("and",)]


@pytest.mark.parametrize(
    "text", ["東京", "東 京都", "x東京y", "東", "", "東京 \u0e40\u0e01\u0e32", "𠀀東京", "東京\u3099"]
)
def test_a_text_of_single_characters_has_the_pairs_that_its_clusters_have(text: str) -> None:
    runs = [piece for piece in pieces(normalized(text)) if is_unspaced(piece)]
    wanted = [f"{a}{b}" for run in runs for a, b in pairwise([" ", *clusters(run), " "])]
    assert sorted(overlapping(separated(normalized(text))).split()) == sorted(pair.strip() for pair in wanted)
