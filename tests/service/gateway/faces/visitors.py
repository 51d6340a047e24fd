"""A visitor of a page, as the widget's routes make it."""

from services.gateway.edge.visitor_tokens import Grant
from shared.contracts.keys import Principal, Scope
from shared.contracts.widget import Visitor
from shared.ids import new_id
from tests.service.gateway.fakes import WORKSPACE, Stage

SHOP = "https://shop.example"


async def visitor_of(gateway: Stage) -> tuple[str, dict[str, str]]:
    """The visitor's session, and the headers of its requests."""
    session = await gateway.session()
    key = Principal(
        key_id=new_id("key"),
        workspace=WORKSPACE,
        scopes=frozenset({Scope.CHAT_PUBLIC}),
        agent_id=gateway.agent_id,
        allowed_origins=(SHOP,),
    )
    gateway.history.principals[key.key_id] = key
    visitor = Visitor(id=new_id("vis"), session_id=session, origin=SHOP)
    token = gateway.dependencies.visitors.issue(Grant(WORKSPACE, key.key_id, gateway.agent_id, visitor)).token
    return session, {"Authorization": f"Bearer {token}", "Origin": SHOP}
