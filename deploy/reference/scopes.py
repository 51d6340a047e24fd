"""scopes.md: what each scope opens, from the gateway's route table."""

from deploy.reference.markdown import page as markdown_page
from deploy.reference.markdown import table
from services.gateway.route_table import ROUTES
from shared.contracts.keys import SCOPES

INTRODUCTION = """\
A secret key (`parley_sk_…`) holds scopes, and can give to another key only those that it holds. A publishable key
(`parley_pk_…`) holds `chat:public` alone. A request without a key gets 401, one whose key lacks the scope gets 403
`insufficient_scope`, which names it in `requiredScope`; another workspace's ids get the same 404 as absent ones. `HEAD`
needs the scope of `GET`."""


def page() -> str:
    scopes = table(("scope", "opens"), [(f"`{scope}`", text) for scope, text in SCOPES.items()])
    rows = [
        (f"`{route.method} {route.path}`", f"`{route.scope}`" if route.scope else "none", route.summary)
        for route in sorted(ROUTES, key=lambda route: (route.path, route.method))
    ]
    return markdown_page(
        "Scopes",
        "services/gateway/route_table.py",
        INTRODUCTION,
        "## Scopes\n\n" + scopes,
        "## Routes\n\n" + table(("route", "scope", "what it does"), rows),
    )
