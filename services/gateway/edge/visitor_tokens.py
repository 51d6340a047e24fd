"""Visitor tokens: what a visitor of a web page may use, as a signed JWT. Nothing of them is stored.

A token is bound to a publishable key, a session and an origin. The key is looked up at each request, so a revoked key
ends the tokens that it made.
"""

import hmac
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final, NamedTuple

import jwt

from shared.contracts.errors import ApiError, Code
from shared.contracts.widget import Visitor

PREFIX: Final = "parley_vt_"
MAX_LENGTH: Final = 4096
# How long after its end a token still tells who the visitor was.
LATE: Final = timedelta(days=30)
_ISSUER: Final = "parley"
_ALGORITHM: Final = "HS256"
_CLAIMS: Final = ("exp", "iat", "iss", "sub", "ws", "key", "agt", "ses", "org")


class Grant(NamedTuple):
    """What a token says. It counts only as long as its key does."""

    workspace: str
    key_id: str
    agent_id: str
    visitor: Visitor


class Issued(NamedTuple):
    token: str
    expires_at: datetime


class VisitorTokens:
    """The first secret signs, all of them verify. A secret may be any text; the signing key is derived from it."""

    def __init__(self, secrets: Sequence[str], *, life_s: float) -> None:
        self._keys = [hmac.digest(secret.encode(), b"parley visitor token", "sha256") for secret in secrets]
        self._life = timedelta(seconds=life_s)

    def issue(self, grant: Grant) -> Issued:
        now = datetime.now(UTC)
        expires_at = now + self._life
        visitor = grant.visitor
        claims: dict[str, Any] = {
            "iss": _ISSUER,
            "iat": int(now.timestamp()),
            "exp": int(expires_at.timestamp()),
            "sub": visitor.id,
            "ws": grant.workspace,
            "key": grant.key_id,
            "agt": grant.agent_id,
            "ses": visitor.session_id,
            "org": visitor.origin,
        }
        if visitor.end_user_id is not None:
            claims["eu"] = visitor.end_user_id
        return Issued(PREFIX + jwt.encode(claims, self._keys[0], _ALGORITHM), expires_at)

    def read(self, token: str, *, late: bool = False) -> Grant:
        """`late`: also a token that ended within the last 30 days.

        Raises `invalid_visitor_token`, `expired_visitor_token`.
        """
        if not token.startswith(PREFIX) or len(token) > MAX_LENGTH:
            raise ApiError(Code.INVALID_VISITOR_TOKEN)
        for key in self._keys:
            try:
                claims = jwt.decode(
                    token.removeprefix(PREFIX),
                    key,
                    [_ALGORITHM],
                    issuer=_ISSUER,
                    leeway=LATE if late else 0,
                    options={"require": list(_CLAIMS)},
                )
            except jwt.ExpiredSignatureError:
                raise ApiError(Code.EXPIRED_VISITOR_TOKEN) from None
            except jwt.InvalidTokenError:
                continue
            return _grant(claims)
        raise ApiError(Code.INVALID_VISITOR_TOKEN)


def _grant(claims: dict[str, Any]) -> Grant:
    visitor = Visitor(id=claims["sub"], session_id=claims["ses"], origin=claims["org"], end_user_id=claims.get("eu"))
    return Grant(claims["ws"], claims["key"], claims["agt"], visitor)
