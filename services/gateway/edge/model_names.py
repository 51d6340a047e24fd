"""What callers of OpenAI's protocols may name as the `model`."""

import re
from typing import Final

_MODEL: Final = re.compile(r"(agt_[0-9a-z]{26}|[a-z0-9](?:[a-z0-9-]{0,62}[a-z0-9])?)(@[1-9][0-9]{0,8})?")


def is_model(text: str) -> bool:
    """Whether a text has the shape of a `model`: an agent's id or slug, with `@n` for one of its versions."""
    return _MODEL.fullmatch(text) is not None
