"""The edge's calls and routes, with this gateway's dependencies."""

from services.gateway.dependencies import Dependencies
from services.gateway.edge import route

Call = route.Call[Dependencies]
Route = route.Route[Dependencies]
