"""Proof-of-work challenges for visitors of web pages: made, signed and checked here. The scheme is ALTCHA's, version 2.

A challenge is bound to a publishable key, expires, and opens one session. Nothing is stored until it is solved.
"""

import hmac
import secrets
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from altcha import Payload, create_challenge, verify_solution
from prometheus_client import Counter
from redis.exceptions import RedisError

from shared.broker.client import connect
from shared.log import get_logger

log = get_logger()

CHALLENGES: Final = Counter(
    "parley_challenges_total", "Proof-of-work challenges of the widget, by what became of them", ["outcome"]
)
for _outcome in ("given", "solved", "refused"):
    CHALLENGES.labels(_outcome)
# A visitor on a slow phone needs some ten seconds, and may leave the page for a moment.
LIFE: Final = timedelta(minutes=5)
MAX_SOLVED: Final = 2048
KEY: Final = "parley:challenge:"
# Browsers have PBKDF2 in native code, so an attacker's machine is not much faster per core. A derivation takes 0.1 ms
# here, with a challenge and with a check of its solution. A visitor needs 1000 to 6000 of them: about a second.
_ALGORITHM: Final = "PBKDF2/SHA-256"
_ITERATIONS: Final = 500
_FEWEST: Final = 1000
_MOST: Final = 6000


class Challenges:
    """`redis_url`: the queue's Redis, which remembers the solutions that were used. It connects at the first one.

    The first of `keys` signs, all of them verify.
    """

    def __init__(self, keys: Sequence[str], redis_url: str, *, life: timedelta = LIFE) -> None:
        self._keys = [hmac.digest(key.encode(), b"parley widget challenge", "sha256") for key in keys]
        self._redis = connect(redis_url, connections=4)
        self._life = life

    async def aclose(self) -> None:
        await self._redis.aclose()

    def new(self, key_id: str) -> dict[str, Any]:
        """A challenge as it goes to a visitor of the key's pages."""
        made = create_challenge(
            _ALGORITHM,
            _ITERATIONS,
            counter=_FEWEST + secrets.randbelow(_MOST - _FEWEST),
            expires_at=datetime.now(UTC) + self._life,
            data={"key": key_id},
            hmac_secret=self._keys[0],
        )
        CHALLENGES.labels("given").inc()
        shown: dict[str, Any] = made.to_dict()
        return shown

    async def redeem(self, key_id: str, solved: str) -> bool:
        """Whether it is a solution of a challenge of this key that has not expired. True once for each challenge.

        Without Redis a solution may be used again until it expires: an outage must not close the chats of all pages.
        """
        signature = self._signature(key_id, solved)
        fresh = signature is not None and await self._is_first(signature)
        CHALLENGES.labels("solved" if fresh else "refused").inc()
        return fresh

    def _signature(self, key_id: str, solved: str) -> str | None:
        """The signature of a challenge that was solved rightly. It is unique to the challenge."""
        if len(solved) > MAX_SOLVED or not any(verify_solution(solved, key).verified for key in self._keys):
            return None
        challenge = Payload.from_base64(solved).challenge
        bound = (challenge.parameters.data or {}).get("key") == key_id
        return challenge.signature if bound else None

    async def _is_first(self, signature: str) -> bool:
        try:
            kept = int(self._life.total_seconds()) + 5
            return await self._redis.set(KEY + signature, 1, nx=True, ex=kept) is not None
        except (RedisError, OSError) as error:
            log.warning("challenge_not_remembered", error=type(error).__name__)
            return True
