"""The widget's calls: its settings, a visitor's session, and the token that opens it."""

from typing import Any, Final

from aiohttp import web
from pydantic import Field

from services.gateway.api.sessions import shown as shown_session
from services.gateway.api.widget_challenges import require_solved
from services.gateway.call import Call, Route
from services.gateway.edge.challenges import MAX_SOLVED
from services.gateway.edge.client_address import address_of
from services.gateway.edge.params import OWN_BODY
from services.gateway.edge.replies import data_response
from services.gateway.edge.route import Reply
from services.gateway.edge.validation import Metadata, json_body, no_body
from services.gateway.edge.visitor_tokens import MAX_LENGTH, Grant
from shared.contracts.errors import ApiError, Code
from shared.contracts.keys import Scope
from shared.contracts.schema import PublicRequest, Schema, Time
from shared.contracts.sessions import EndUser, Session
from shared.contracts.widget import MAX_IDENTITY, Identity, Visitor, WidgetSettings
from shared.ids import new_id


class StartVisit(PublicRequest):
    visitor_token: str | None = Field(
        default=None,
        max_length=MAX_LENGTH,
        repr=False,
        description="an earlier token, also one that has ended within 30 days: the visitor stays the same",
    )
    resume: bool = Field(default=False, description="continue the session of `visitorToken` if it is still active")
    identity: str | None = Field(
        default=None, max_length=MAX_IDENTITY, repr=False, description="a JWT signed with an identity secret"
    )
    challenge: str | None = Field(
        default=None,
        max_length=MAX_SOLVED,
        description="a solved challenge: Base64 of ALTCHA's payload, {challenge, solution: {counter, derivedKey}}",
    )
    metadata: Metadata = Field(default_factory=dict)


class WidgetConfig(Schema):
    key_id: str
    agent_id: str
    name: str
    widget: WidgetSettings
    identity_required: bool
    frame_url: str


class VisitorAccess(Schema):
    visitor_token: str
    expires_at: Time
    visitor_id: str
    identified: bool


class Visit(VisitorAccess):
    session: Session


async def config(call: Call) -> web.StreamResponse:
    agent, key_id = agent_of(call), call.principal.key_id
    record = await call.dependencies.history.widget(call.workspace, agent)
    settings = WidgetSettings.model_validate(record.settings)
    found = WidgetConfig(
        key_id=key_id,
        agent_id=agent,
        name=record.name,
        widget=settings,
        identity_required=settings.require_identity_verification,
        frame_url=f"/widget/frame/{key_id}",
    )
    headers = {"Cache-Control": "private, max-age=60", "Vary": "Origin, Authorization"}
    return data_response(found.model_dump(mode="json", by_alias=True), headers=headers)


async def start(call: Call) -> web.StreamResponse:
    body = await json_body(call.request, StartVisit)
    await call.dependencies.limits.visit(address_of(call.request, call.dependencies.settings.proxy_networks))
    known = _known_visitor(call, body)
    settings = await _settings(call) if body.identity is None else None
    identity = await _identity(call, body, settings)
    if known is not None and (identity is None or identity.id == known.end_user_id) and body.resume:
        session = await _active(call, known.session_id)
        if session is not None:
            return _answer(call, known, session)
    if settings is not None:
        await require_solved(call, settings.challenge, body.challenge)
    session = await _new_session(call, known, identity, body)
    end_user_id = identity.id if identity is not None else None
    visitor_id = known.id if known is not None and known.end_user_id == end_user_id else _visitor_id(session)
    visitor = Visitor(
        id=visitor_id, session_id=session.id, origin=call.request.headers["Origin"], end_user_id=end_user_id
    )
    return _answer(call, visitor, session)


def _known_visitor(call: Call, body: StartVisit) -> Visitor | None:
    """The visitor of an earlier token of this agent. A token that cannot be read is as good as none."""
    if body.visitor_token is None:
        return None
    try:
        grant = call.dependencies.visitors.read(body.visitor_token, late=True)
    except ApiError:
        return None
    own = (call.workspace, call.principal.agent_id)
    return grant.visitor if (grant.workspace, grant.agent_id) == own else None


async def _settings(call: Call) -> WidgetSettings:
    record = await call.dependencies.history.widget(call.workspace, agent_of(call))
    return WidgetSettings.model_validate(record.settings)


async def _identity(call: Call, body: StartVisit, settings: WidgetSettings | None) -> Identity | None:
    """Raises `invalid_identity`, `identity_required`."""
    if body.identity is not None:
        return await call.dependencies.history.verified_identity(call.workspace, agent_of(call), body.identity)
    if settings is not None and settings.require_identity_verification:
        raise ApiError(Code.IDENTITY_REQUIRED)
    return None


async def _active(call: Call, wanted: str) -> Session | None:
    try:
        session = await call.dependencies.history.session(call.workspace, wanted)
    except ApiError as error:
        if error.code is Code.SESSION_NOT_FOUND:
            return None
        raise
    return session if session.status == "active" else None


async def _new_session(call: Call, known: Visitor | None, identity: Identity | None, body: StartVisit) -> Session:
    """An anonymous visitor is an end user too, so that what is held of one can be exported and erased."""
    if identity is not None:
        metadata = {"email": identity.email} if identity.email is not None else {}
        end_user = EndUser(id=identity.id, name=identity.name, metadata=metadata)
    else:
        anonymous = known.id if known is not None and known.end_user_id is None else new_id("vis")
        end_user = EndUser(id=anonymous)
    return await call.dependencies.history.create_session(
        call.workspace, new_id("ses"), agent_of(call), body.metadata, False, end_user
    )


def _visitor_id(session: Session) -> str:
    end_user = session.end_user.id if session.end_user is not None else ""
    return end_user if end_user.startswith("vis_") else new_id("vis")


def _answer(call: Call, visitor: Visitor, session: Session) -> web.Response:
    data = {**access(call, visitor), "session": shown_session(session)}
    headers = {"Location": f"/api/v1/chat/sessions/{session.id}"}
    return data_response(data, status=201, headers=headers)


def access(call: Call, visitor: Visitor) -> dict[str, Any]:
    principal = call.principal
    grant = Grant(principal.workspace, principal.key_id, agent_of(call), visitor)
    issued = call.dependencies.visitors.issue(grant)
    return VisitorAccess(
        visitor_token=issued.token,
        expires_at=issued.expires_at,
        visitor_id=visitor.id,
        identified=visitor.is_identified,
    ).wire()


async def refresh(call: Call) -> web.StreamResponse:
    await no_body(call.request)
    return data_response(access(call, visitor_of(call)))


def agent_of(call: Call) -> str:
    """The agent of the publishable key."""
    agent_id = call.principal.agent_id
    assert agent_id is not None, "only publishable keys hold chat:public"
    return agent_id


def visitor_of(call: Call) -> Visitor:
    """Raises `insufficient_scope` for a key: these routes are about one visitor."""
    if call.principal.visitor is None:
        raise ApiError(
            Code.INSUFFICIENT_SCOPE,
            "This needs a visitor token. POST /chat/widget/sessions makes one.",
            members={"requiredScope": str(Scope.CHAT_PUBLIC)},
        )
    return call.principal.visitor


_SESSIONS: Final = "/chat/widget/sessions"
ROUTES: Final[tuple[Route, ...]] = (
    Route(
        method="GET",
        path="/chat/widget/config",
        serve=config,
        scope=Scope.CHAT_PUBLIC,
        summary="What the widget of the key's agent looks like and says",
        replies={200: (Reply("the settings", WidgetConfig),)},
        errors=(Code.AGENT_NOT_FOUND, Code.ORIGIN_NOT_ALLOWED),
    ),
    Route(
        method="POST",
        path=_SESSIONS,
        serve=start,
        scope=Scope.CHAT_PUBLIC,
        summary="Start a visitor's session with the key's agent; the token opens this session and nothing else",
        request=StartVisit,
        replies={201: (Reply("the session and its token", Visit),)},
        errors=(
            *OWN_BODY,
            Code.AGENT_NOT_FOUND,
            Code.NO_PUBLISHED_VERSION,
            Code.ORIGIN_NOT_ALLOWED,
            Code.INVALID_IDENTITY,
            Code.IDENTITY_REQUIRED,
            Code.CHALLENGE_REQUIRED,
        ),
    ),
    Route(
        method="POST",
        path="/chat/widget/token",
        serve=refresh,
        scope=Scope.CHAT_PUBLIC,
        visitor=True,
        summary="Renew a visitor token before it expires",
        body_optional=True,
        replies={200: (Reply("a new token for the same session", VisitorAccess),)},
        errors=OWN_BODY,
    ),
)
