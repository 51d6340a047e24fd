"""OpenAI's Responses: a response is a turn, a conversation is a session. Wire facts: the Open Responses document."""

from typing import Final

from services.gateway.call import Route
from services.gateway.faces.responses import handler, stored

ROUTES: Final[tuple[Route, ...]] = (*handler.ROUTES, *stored.ROUTES)
