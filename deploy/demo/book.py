"""Pure: what the demo process would bill. Tests compare the product's usage with it."""

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from deploy.demo.answer import last_user_text

QUESTIONS_REMEMBERED: Final = 20_000


@dataclass(slots=True)
class Told:
    """How far a stream came. `is_whole`: its end was written, with the usage."""

    pieces: int = 0
    is_whole: bool = False


class Book:
    """By question, the streams that were whole and those that were cut off: how many, and their tokens.

    A cut one costs its prompt and the pieces that were written. The oldest questions are forgotten.
    """

    def __init__(self) -> None:
        self.questions: OrderedDict[str, dict[str, int]] = OrderedDict()

    def note(self, messages: Sequence[dict[str, Any]], usage: dict[str, Any] | None, told: Told) -> None:
        if usage is None:
            return
        question = last_user_text(messages)
        page = self.questions.setdefault(question, {"wholeCalls": 0, "wholeTokens": 0, "cutCalls": 0, "cutTokens": 0})
        sort = "whole" if told.is_whole else "cut"
        page[sort + "Calls"] += 1
        page[sort + "Tokens"] += usage["total_tokens"] if told.is_whole else usage["prompt_tokens"] + told.pieces
        if len(self.questions) > QUESTIONS_REMEMBERED:
            self.questions.popitem(last=False)
