"""Protocols that chat kits, agents and tools speak already. A face is a folder here, and one line in `ROUTES`."""

from typing import Final

from services.gateway.call import Route
from services.gateway.faces import responses
from services.gateway.faces.a2a import routes as a2a
from services.gateway.faces.agui import routes as agui
from services.gateway.faces.ai_sdk import routes as ai_sdk
from services.gateway.faces.mcp import routes as mcp

ROUTES: Final[tuple[Route, ...]] = (
    *ai_sdk.ROUTES,
    *agui.ROUTES,
    *mcp.ROUTES,
    *responses.ROUTES,
    *a2a.ROUTES,
)
