"""How many requests a name has left, and the headers that say so."""

import math
from typing import NamedTuple, Self


class Allowance(NamedTuple):
    """What is left of a name's requests. `reset_s`: until all of `limit` are there again. `retry_s` above 0: refuse."""

    limit: int
    remaining: int
    reset_s: float
    retry_s: float

    def later(self, retry_s: float) -> Self:
        """A refusal as it stands when only `retry_s` is left to wait."""
        return self._replace(reset_s=self.reset_s - self.retry_s + retry_s, retry_s=retry_s)

    def headers(self, *, openai: bool) -> dict[str, str]:
        names = {
            "RateLimit-Limit": str(self.limit),
            "RateLimit-Remaining": str(self.remaining),
            "RateLimit-Reset": str(math.ceil(self.reset_s)),
        }
        if openai:
            names["x-ratelimit-limit-requests"] = str(self.limit)
            names["x-ratelimit-remaining-requests"] = str(self.remaining)
            names["x-ratelimit-reset-requests"] = openai_duration(self.reset_s)
        return names

    def retry_after(self) -> dict[str, str]:
        """The header of the refusal, in whole seconds and never too early."""
        return {"Retry-After": str(max(1, math.ceil(self.retry_s)))}


def openai_duration(seconds: float) -> str:
    """`6m0s`, `12s`: OpenAI's spelling."""
    minutes, rest = divmod(math.ceil(seconds), 60)
    return f"{minutes}m{rest}s" if minutes else f"{rest}s"
