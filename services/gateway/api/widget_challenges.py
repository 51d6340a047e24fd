"""The challenge that a visitor's browser solves before a session starts, while sessions start in large numbers."""

from typing import Final

from aiohttp import web

from services.gateway.call import Call, Route
from services.gateway.edge.replies import data_response
from services.gateway.edge.route import Reply
from shared.contracts.errors import ApiError, Code
from shared.contracts.keys import Scope
from shared.contracts.schema import Schema
from shared.contracts.widget import ChallengeMode


class ChallengeParameters(Schema):
    """ALTCHA's, version 2. `expires_at` in seconds since 1970."""

    algorithm: str
    cost: int
    key_length: int
    key_prefix: str
    nonce: str
    salt: str
    expires_at: int
    data: dict[str, str]


class Challenge(Schema):
    """The solution is a counter (four bytes, big endian). PBKDF2 with the password nonce + counter, the salt and `cost`
    iterations must give a key that begins with `key_prefix`. All of them are written in hexadecimal.
    """

    parameters: ChallengeParameters
    signature: str


async def require_solved(call: Call, mode: ChallengeMode, solved: str | None) -> None:
    """For a session of an anonymous visitor. A solution that was sent is used up, needed or not.

    Raises `challenge_required`.
    """
    if mode == "off":
        return
    challenges, key_id = call.dependencies.challenges, call.principal.key_id
    if solved is not None:
        if await challenges.redeem(key_id, solved):
            return
        why = "The solved challenge is wrong, expired or used. Solve the one in `challenge` instead."
    elif mode == "auto" and await call.dependencies.limits.unchallenged_visit(key_id):
        return
    else:
        why = "Solve `challenge` and send the request again with the solution as `challenge`."
    raise ApiError(Code.CHALLENGE_REQUIRED, why, members={"challenge": challenges.new(key_id)})


async def new(call: Call) -> web.StreamResponse:
    return data_response(call.dependencies.challenges.new(call.principal.key_id), headers={"Cache-Control": "no-store"})


ROUTES: Final[tuple[Route, ...]] = (
    Route(
        method="GET",
        path="/chat/widget/challenge",
        serve=new,
        scope=Scope.CHAT_PUBLIC,
        summary="A proof-of-work challenge, to be solved before a session is started",
        replies={200: (Reply("the challenge", Challenge),)},
        errors=(Code.ORIGIN_NOT_ALLOWED,),
    ),
)
