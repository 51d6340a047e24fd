"""Which events each workspace's endpoints ask for, as MongoDB had it a second ago.

A change that somebody asks to hear of brings its event into its own document (`unsent`), by the same update; the relay
makes the deliveries afterwards. So no event is without its change, and no change is without its event. Where nobody
asks, nothing is written. A new endpoint hears of what happens from a second after its creation on.
"""

from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

from services.history.mongo.client import Database
from services.history.mongo.filters import Document
from shared.contracts.webhooks import EventType
from shared.ids import new_id

PENDING: Final = "unsent"
# Of all workspaces: a list is a few kilobytes per ten endpoints.
MAX_KNOWN: Final = 100_000


class Endpoint(NamedTuple):
    """One that is enabled. `sealed`: its signing secrets, the newest first, each with the time until which it signs.

    `rest_until`: until when an endpoint that fails is left alone.
    """

    id: str
    workspace: str
    url: str
    events: frozenset[str]
    sealed: tuple[tuple[str, datetime | None], ...]
    failing_since: datetime | None
    rest_until: datetime | None = None


class Subscriptions:
    def __init__(self, database: Database) -> None:
        self._webhooks = database.webhooks
        self._any = False
        self._known: dict[str, dict[str, Endpoint]] | None = None
        self._failing: tuple[Endpoint, ...] = ()
        self._healthy: tuple[Endpoint, ...] = ()

    @property
    def any(self) -> bool:
        """Whether there may be an endpoint at all, also one that is disabled."""
        return self._known is None or self._any

    async def refresh(self) -> None:
        """Raises ApiError while MongoDB is away; what was known before stays."""
        rows = await self._webhooks.many({}, limit=MAX_KNOWN)
        self._any = bool(rows)
        known: dict[str, dict[str, Endpoint]] = {}
        failing, healthy = list[Endpoint](), list[Endpoint]()
        for row in filter(lambda each: each["enabled"], rows):
            endpoint = endpoint_of(row)
            known.setdefault(endpoint.workspace, {})[endpoint.id] = endpoint
            (healthy if endpoint.failing_since is None else failing).append(endpoint)
        self._known, self._failing, self._healthy = known, tuple(failing), tuple(healthy)

    def wants(self, workspace: str, event: EventType) -> bool:
        """Before the first list was read, everything is wanted: the relay drops what nobody asked for."""
        if self._known is None:
            return True
        return any(event in each.events for each in self._known.get(workspace, {}).values())

    def event(self, workspace: str, event: EventType, **details: Any) -> Document | None:
        """An entry for the `unsent` list of the document that changes. None: nobody asks for it."""
        if not self.wants(workspace, event):
            return None
        entry: Document = {"id": new_id("evt"), "type": event, "at": datetime.now(UTC)}
        return entry | ({"details": details} if details else {})

    def first(self, workspace: str, event: EventType, **details: Any) -> Document:
        """For a document that has no event yet: the member with the list."""
        entry = self.event(workspace, event, **details)
        return {} if entry is None else {PENDING: [entry]}

    def pushed(self, change: Document, workspace: str, event: EventType, **details: Any) -> Document:
        """The update, with the event added to the document's list."""
        entry = self.event(workspace, event, **details)
        return change if entry is None else {**change, "$push": {**change.get("$push", {}), PENDING: entry}}

    def asking(self, workspace: str, event: str) -> list[Endpoint]:
        return [each for each in (self._known or {}).get(workspace, {}).values() if event in each.events]

    def endpoint(self, workspace: str, endpoint_id: str) -> Endpoint | None:
        """None: it is disabled, deleted, or not a second old."""
        return (self._known or {}).get(workspace, {}).get(endpoint_id)

    def failing(self) -> tuple[Endpoint, ...]:
        """Those that are enabled, and whose last attempts have failed."""
        return self._failing

    def healthy(self) -> tuple[Endpoint, ...]:
        """All others that are enabled."""
        return self._healthy


def endpoint_of(row: Document) -> Endpoint:
    sealed = [(row["secret"], None)]
    if row.get("oldSecret") is not None:
        sealed.append((row["oldSecret"], row["oldUntil"]))
    return Endpoint(
        row["_id"],
        row["workspace"],
        row["url"],
        frozenset(row["events"]),
        tuple(sealed),
        row.get("failingSince"),
        row.get("restUntil"),
    )
