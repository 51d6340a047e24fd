"""Pure: `demo/extractive`, a stand-in for a model. It writes nothing of its own: it quotes the best sentences of the
retrieved passages and words the result of one tool. The same conversation always gets the same answer."""

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, Final

import orjson

from deploy.demo.answer import Answer, Call, estimated_tokens, last_user_text, text_of, usage_of

NAME: Final = "demo/extractive"
WHAT_IT_IS: Final = (
    "I am demo/extractive, the stand-in that ships with Parley so that it answers without an account or a key. "
    "I am not a language model: "
    "I quote the sentences of the retrieved passages that fit your question best, "
    "and I look up an order when you name its number. "
    "A real model is one setting away: PARLEY_MODEL_BASE_URL."
)
NOTHING_FOUND: Final = (
    "I found nothing about that in the documents of this agent. "
    "I am only Parley's built-in demo model and can do no more than quote them."
)
GREETING: Final = "Hello! I am Parley's built-in demo model. Ask me about what the documents of this agent say."

_PASSAGE: Final = re.compile(
    r'<passage(?: number="(\d+)")? title="([^"]*)"(?: \w+="[^"]*")*>(.*?)</passage>', re.DOTALL
)
_SENTENCE: Final = re.compile(r"(?<=[.!?])\s+|\n+")
_WORD: Final = re.compile(r"\w+")
_PIECE: Final = re.compile(r"\s*\S+\s?")
_ABOUT_ITSELF: Final = re.compile(
    r"\b(who|what) (exactly )?are you\b|\b(which|what) (ai |language )?model\b"
    r"|\bare you (a |an )?(real|human|bot|robot|ai|person|language model|llm|model)\b",
    re.IGNORECASE,
)
_GREETING: Final = re.compile(r"\W*(hi|hello|hey|good (morning|evening|afternoon))\b\W*(there|you)?\W*", re.IGNORECASE)
_ORDER: Final = re.compile(r"\border\b\D{0,40}?#?\s*(\d{3,10})\b|#\s*(\d{3,10})\b", re.IGNORECASE)
_STOP_WORDS: Final = frozenset(
    re.findall(
        r"\w+",
        """
        a about an and any are at be can could do does for from give had has have how i if in is it its me
        much my of on or please shall should so some tell than that the their them there they this to us was
        we were what when where which who why will with would you your
        """,
    )
)
_SENTENCES_SHOWN: Final = 3


@dataclass(frozen=True, slots=True)
class _Sentence:
    text: str
    words: frozenset[str]
    title_words: frozenset[str]
    place: tuple[int, int]  # passage, sentence within it


def extractive_reply(messages: Sequence[dict[str, Any]], tools: Sequence[dict[str, Any]], delay_s: float) -> Answer:
    """`tools` as in an OpenAI request, empty when they must not be called. `delay_s` is the pause between words."""
    prompt_tokens = estimated_tokens(messages)
    call = _order_call(messages, tools)
    if call is not None:
        return Answer(calls=[call], usage=usage_of(prompt_tokens, len(call.arguments) // 4 + 4), delay_s=delay_s)
    pieces = _PIECE.findall(_words(messages))
    return Answer(pieces=pieces, usage=usage_of(prompt_tokens, len(pieces)), delay_s=delay_s)


def _words(messages: Sequence[dict[str, Any]]) -> str:
    if messages and messages[-1].get("role") == "tool":
        return told_result(text_of(messages[-1]))
    question = last_user_text(messages)
    if _ABOUT_ITSELF.search(question):
        return WHAT_IT_IS
    if _GREETING.fullmatch(question):
        return GREETING
    system = "\n".join(text_of(message) for message in messages if message.get("role") in ("system", "developer"))
    return " ".join(_cited(question, _PASSAGE.findall(system))) or NOTHING_FOUND


# --- quoting


def _cited(question: str, passages: Sequence[tuple[str, str, str]]) -> list[str]:
    """The sentences, with the number of a passage behind the last one that comes from it."""
    shown = list[str]()
    for row, sentences in groupby(
        best_sentences(question, [(title, text) for _, title, text in passages]), key=lambda quoted: quoted[1]
    ):
        number = passages[row][0]
        shown += [text for text, _ in sentences]
        if number:
            shown.append(f"[{number}]")
    return shown


def best_sentences(question: str, passages: Sequence[tuple[str, str]]) -> list[tuple[str, int]]:
    """Up to three sentences that share the question's rarest words, in the text's order, each with its passage."""
    wanted = _stems(question) - {_stem(word) for word in _STOP_WORDS}
    sentences = _sentences(passages)
    weights = _rarity(wanted, sentences)
    scored = [(_score(sentence, weights), sentence) for sentence in sentences]
    best = max((score for score, _ in scored), default=0.0)
    if best <= 0:
        return []
    chosen = sorted((row for row in scored if row[0] >= 0.6 * best), key=lambda row: (-row[0], row[1].place))[
        :_SENTENCES_SHOWN
    ]
    return [(sentence.text, sentence.place[0]) for _, sentence in sorted(chosen, key=lambda row: row[1].place)]


def _sentences(passages: Sequence[tuple[str, str]]) -> list[_Sentence]:
    found = []
    seen = set()
    for row, (title, text) in enumerate(passages):
        title_words = _stems(title)
        for column, part in enumerate(_SENTENCE.split(text)):
            sentence = part.strip()
            if sentence and sentence not in seen:
                seen.add(sentence)
                found.append(_Sentence(sentence, _stems(sentence), title_words, (row, column)))
    return found


def _rarity(wanted: Iterable[str], sentences: Sequence[_Sentence]) -> dict[str, float]:
    """A word that few sentences hold says more; a number (a postcode, an amount) says most."""
    weights = {}
    for word in wanted:
        holders = sum(word in sentence.words or word in sentence.title_words for sentence in sentences)
        if holders:
            weights[word] = math.log(1 + len(sentences) / holders) * (3.0 if word.isdigit() else 1.0)
    return weights


def _score(sentence: _Sentence, weights: dict[str, float]) -> float:
    in_text = sum(weight for word, weight in weights.items() if word in sentence.words)
    in_title = sum(weight for word, weight in weights.items() if word in sentence.title_words)
    # The passages come best first; their order decides between equals.
    return in_text + 0.5 * in_title - 0.01 * sentence.place[0]


def _stems(text: str) -> frozenset[str]:
    return frozenset(_stem(word) for word in _WORD.findall(text.casefold()))


def _stem(word: str) -> str:
    """Crude on purpose: deliver, delivers, delivery, delivering and delivered are one word."""
    for ending in ("ing", "ery", "ies", "ed", "es", "er", "y", "s", "e"):
        if word.endswith(ending) and len(word) - len(ending) >= 3:
            return word.removesuffix(ending)
    return word


# --- the tool


def _order_call(messages: Sequence[dict[str, Any]], tools: Sequence[dict[str, Any]]) -> Call | None:
    """The rule: the user just named an order, and there is a tool that takes an `order_id`."""
    if not messages or messages[-1].get("role") != "user":
        return None
    found = _ORDER.search(text_of(messages[-1]))
    name = next((tool["function"]["name"] for tool in tools if "order_id" in _properties(tool)), None)
    if found is None or name is None:
        return None
    number = found.group(1) or found.group(2)
    return Call(id=f"call_order_{number}", name=name, arguments=orjson.dumps({"order_id": number}).decode())


def _properties(tool: dict[str, Any]) -> dict[str, Any]:
    function = tool.get("function")
    parameters = function.get("parameters") if isinstance(function, dict) else None
    properties = parameters.get("properties") if isinstance(parameters, dict) else None
    return properties if isinstance(properties, dict) else {}


def told_result(content: str) -> str:
    """The result of `order_status` in words."""
    try:
        result = orjson.loads(content)
    except orjson.JSONDecodeError:
        result = None
    if not isinstance(result, dict) or "status" not in result:
        return "I asked the order system, but it gave no answer that I can read. Please try again in a moment."
    order = result.get("orderId", "")
    if result["status"] == "unknown":
        return f"I could not find an order {order}. Please check the number on your receipt."
    told = f"Order {order} is {str(result['status']).replace('_', ' ')}."
    if result.get("items"):
        told += f" It holds {', '.join(map(str, result['items']))}."
    if result.get("etaMinutes") is not None:
        told += f" It should be with you in about {result['etaMinutes']} minutes."
    return told
