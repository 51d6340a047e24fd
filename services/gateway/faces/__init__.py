"""Protocols that chat kits, agents and tools speak already. A face is a folder here, and one line in `ROUTES`."""

from typing import Final

from services.gateway.call import Route

ROUTES: Final[tuple[Route, ...]] = ()
