"""Questions with known answers: the scripted model uses one of several variants and names it in its first piece."""

import random
import re
from typing import Final

from deploy.demo.scripted import scripted_answer

# The agents of a run: pieces of their answers, and milliseconds between two pieces.
AGENTS: Final = {"short": (30, 50.0), "long": (80, 70.0), "quick": (5, 20.0)}
_MARK: Final = re.compile(r"\((short|long|quick)\) ")
_HEAD: Final = re.compile(r"\[[0-9a-f]{8}\.([0-9]+)\] ")


def model_name(agent: str) -> str:
    """`vary`: another attempt gets another text, so that a mixture of two attempts shows."""
    tokens, delay_ms = AGENTS[agent]
    return f"scripted/tokens={tokens},delay={delay_ms:g},text=echo,vary=1"


def question(agent: str, number: int, chosen: random.Random) -> str:
    """A question that no one else asks in the same run."""
    return f"({agent}) question {number} {chosen.getrandbits(48):012x} – où est ma pizza?"


def tokens_of(asked: str) -> int:
    """How many pieces the answer to this question has."""
    found = _MARK.match(asked)
    return AGENTS[found[1]][0] if found else 0


def right_answer(asked: str, text: str) -> str | None:
    """The whole right answer of the variant that `text` begins; None when it begins none."""
    head = _HEAD.match(text)
    if head is None:
        return None
    answer = scripted_answer(asked, tokens_of(asked), int(head[1]))
    return answer if answer.startswith(head[0]) else None


def is_whole(asked: str, text: str) -> bool:
    return bool(text) and text == right_answer(asked, text)


def is_started(asked: str, text: str) -> bool:
    """Whether the text is the beginning of a right answer, or nothing yet."""
    return not text or (right_answer(asked, text) or "").startswith(text)
