"""The gateway's application: its dependencies, the headers of every response, and the routes of the one table."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Final

from aiohttp import web

from services.gateway.admin.routes import add_admin
from services.gateway.completions.agent_rules import AgentRules
from services.gateway.console.pages import console_routes, page_titles
from services.gateway.dependencies import Dependencies
from services.gateway.edge import cors
from services.gateway.edge.auth import Authenticator
from services.gateway.edge.challenges import Challenges
from services.gateway.edge.key_cache import KeyCache, Resolve
from services.gateway.edge.limits import GatewayLimits
from services.gateway.edge.rates import RequestRates
from services.gateway.edge.request_metrics import count_answer
from services.gateway.edge.route import LIMIT_HEADERS, guarded
from services.gateway.edge.visitor_tokens import VisitorTokens
from services.gateway.route_table import BASE, ROUTES
from services.gateway.settings import GatewaySettings
from services.gateway.site.not_found import not_found_page
from services.gateway.site.routes import site_routes
from services.gateway.streaming import stream_check
from services.gateway.streaming.disconnects import DisconnectMonitor
from services.gateway.streaming.hub import Hub
from services.gateway.streaming.queue_age import QueueAge
from services.gateway.streaming.turn_status import SessionStatusBatcher, TurnStatusBatcher
from services.gateway.widget.static import static_routes
from shared.contracts.errors import ApiError, Code
from shared.contracts.keys import Principal
from shared.history_client import HistoryClient
from shared.ids import is_id
from shared.key_notices import CHANNEL
from shared.previews.exchange import PreviewExchange
from shared.run_log.reader import RunLogs
from shared.tasks import loops_ready
from shared.turn_queue.queue import TurnQueue
from shared.web.health import Check, health_routes
from shared.web.middleware import BEGINS_TRACES, NOT_FOUND_PAGE, REQUEST_ID, request_middleware
from shared.web.server import SECURITY_HEADERS

_JSON: Final = frozenset({"application/json", "application/problem+json"})


@asynccontextmanager
async def open_dependencies(settings: GatewaySettings) -> AsyncIterator[Dependencies]:
    """Opens everything that a gateway holds. No store has to be up: requests fail closed until it is."""
    async with AsyncExitStack() as stack:
        history = await stack.enter_async_context(
            HistoryClient(settings.history_urls, settings.internal_token.get_secret_value(), tls=settings.history_tls)
        )
        queue = TurnQueue.connect(settings.queue_redis_url)
        stack.push_async_callback(queue.aclose)
        previews = PreviewExchange(settings.queue_redis_url)
        stack.push_async_callback(previews.aclose)
        keys, hub = KeyCache(_resolver(history), ttl_s=settings.key_cache_s), Hub(settings.stream_shards)
        visitors = VisitorTokens(settings.visitor_secrets, life_s=settings.visitor_token_s)
        challenges = Challenges(settings.visitor_secrets, settings.queue_redis_url)
        stack.push_async_callback(challenges.aclose)
        hub.keep(CHANNEL, keys)
        rates = await stack.enter_async_context(RequestRates(settings.queue_redis_url))
        yield Dependencies(
            settings=settings,
            history=history,
            queue=queue,
            previews=previews,
            logs=await stack.enter_async_context(RunLogs(settings.stream_shards, keep_s=settings.log_keep_s)),
            hub=await stack.enter_async_context(hub),
            turn_status=TurnStatusBatcher(history),
            session_status=SessionStatusBatcher(history),
            authenticator=Authenticator(
                keys,
                rates,
                visitors,
                failures_per_minute=settings.failed_auth_per_minute,
                trusted_proxies=settings.proxy_networks,
            ),
            limits=GatewayLimits(
                rates,
                requests_per_minute=settings.requests_per_minute,
                streams_per_key=settings.streams_per_key,
                streams_limit=settings.streams_limit,
                visitor_requests_per_minute=settings.visitor_requests_per_minute,
                visits_per_minute=settings.visits_per_minute,
                unchallenged_visits_per_minute=settings.unchallenged_visits_per_minute,
                turns_per_key=settings.turns_per_key,
                turns_per_end_user=settings.turns_per_end_user,
            ),
            visitors=visitors,
            challenges=challenges,
            agents=AgentRules(history),
            disconnects=await stack.enter_async_context(DisconnectMonitor()),
            queue_age=await stack.enter_async_context(QueueAge(queue, settings.queue_age_limit_s)),
            draining=asyncio.Event(),
        )


def create_app(dependencies: Dependencies, *, private: bool) -> web.Application:
    """The same API on both ports; metrics and `/admin` only on the private one."""
    app = web.Application(middlewares=[request_middleware], client_max_size=dependencies.settings.body_limit)
    app[BEGINS_TRACES] = True
    app[NOT_FOUND_PAGE] = not_found_page
    app.on_response_prepare.append(_finish_headers)
    app.add_routes([web.route(route.method, BASE + route.path, guarded(route, dependencies)) for route in ROUTES])
    app.add_routes([web.route("OPTIONS", BASE + path, cors.preflight(of)) for path, of in _pages_methods().items()])
    app.add_routes([web.get(BASE + stream_check.PATH, stream_check.stream_check())])
    app.add_routes(static_routes(dependencies))
    app.add_routes(site_routes(page_titles(dependencies.settings)))
    app.add_routes(console_routes(dependencies.settings))
    app.add_routes([route for route in health_routes(_checks(dependencies)) if private or route.path != "/metrics"])
    if private:
        add_admin(app, dependencies.settings)
    return app


def _pages_methods() -> dict[str, list[str]]:
    """The methods that pages of other origins may use, by path."""
    found: dict[str, list[str]] = {}
    for route in ROUTES:
        if route.is_for_pages:
            found.setdefault(route.path, []).append(route.method)
    return found


def _resolver(history: HistoryClient) -> Resolve:
    """Keys by their digest, and publishable keys also by their id: a visitor's token holds no secret of its key."""

    async def resolve(name: str) -> Principal:
        return await (history.key_principal(name) if is_id("key", name) else history.resolve_key(name))

    return resolve


def _checks(dependencies: Dependencies) -> dict[str, Check]:
    async def serving() -> None:
        if dependencies.draining.is_set():
            raise ApiError(Code.DRAINING)

    async def queue() -> None:
        await dependencies.queue.ping()

    async def loops() -> None:
        await loops_ready(*dependencies.loops)

    return {
        "serving": serving,
        "history": dependencies.history.ready,
        "queue": queue,
        "logs": dependencies.logs.ping,
        "hub": dependencies.hub.ready,
        "loops": loops,
    }


async def _finish_headers(request: web.Request, response: web.StreamResponse) -> None:
    """Adds the headers of every response, streams included, just before it is sent."""
    count_answer(request, response.status)
    headers = response.headers
    headers.setdefault("X-Content-Type-Options", "nosniff")
    headers.setdefault("Referrer-Policy", "no-referrer")
    request_id = request.get(REQUEST_ID)
    if request_id is not None:
        headers.setdefault("x-request-id", request_id)
    if response.content_type in _JSON:
        for name, value in SECURITY_HEADERS.items():
            headers.setdefault(name, value)
    for name, value in {**(request.get(LIMIT_HEADERS) or {}), **(request.get(cors.CORS_HEADERS) or {})}.items():
        headers.setdefault(name, value)
