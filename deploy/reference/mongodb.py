"""mongodb.md: what history asks of MongoDB, operation by operation; what each index serves; shard keys."""

from typing import Any, Final, NamedTuple

from deploy.reference.markdown import page as markdown_page
from deploy.reference.markdown import table
from services.history.mongo.driver import client_options
from services.history.mongo.index_purposes import PURPOSES
from services.history.mongo.indexes import INDEXES, Index, index_model

OPERATIONS_TEXT: Final = """\
## Operations

History states these itself, for both drivers. What the connection string says of `w`, `journal`, `readConcernLevel`,
`readPreference` and `timeoutMS` does not count. There are no transactions and no change streams: one document is the
unit, and unique indexes decide races."""
READS_TEXT: Final = """\
No read goes to a secondary, not even of lists and statistics. A list has what its caller has just written, usage is
exact for every turn that has ended, and what was erased is never shown again; a secondary may be behind."""
_RECEIPTS: Final = "an accepted turn and a given receipt outlive any one member and any election"
_DECISIONS: Final = "which attempt, which number, whether a key holds: the newest, and nothing that an election undoes"
INDEXES_TEXT: Final = """\
## Indexes

History makes them at its start. A name in **bold** is unique: it states a rule of the data. *Partial* indexes hold only
documents that have the named member, or the named value, so those of the reconciler are almost empty.

To look at a query: `db.turns.find(…).sort(…).limit(…).explain("executionStats")`. Expected are `IXSCAN` with the name
below and then `FETCH`; no `COLLSCAN`; no `SORT`, because the last member of an index is the order of its list; and
`totalKeysExamined` at most one more than `limit`, or the number of listed values more for `$in`. In lists of sessions a
`FETCH` may have a filter: one index serves, and further members are compared in the documents. These notes follow from
the form of queries and indexes, which tests compare; no real MongoDB was at hand to explain one."""
SHARDS_TEXT: Final = """\
## Shard keys

On paper: a sharded cluster was not at hand. Every unique index must begin with the shard key, and a test holds this
table against the indexes. So a workspace stays on one shard, and its rate is bounded by one replica set; workspaces
spread over shards. *Targeted* queries go to one shard, *scattered* ones to all. Every command of a turn is targeted."""


class ShardKey(NamedTuple):
    """`key`: None for a collection that stays whole, on the primary shard of its database."""

    key: str | None
    targeted: str
    scattered: str


_QUEUES: Final = "rounds of the reconciler"
SHARD_KEYS: Final[dict[str, ShardKey]] = {
    "sessions": ShardKey("workspace", "all of the API", _QUEUES),
    "turns": ShardKey("workspace", "all of the API; every command of a turn", f"{_QUEUES}, of the usage ledger"),
    "agents": ShardKey("workspace", "all of the API", _QUEUES),
    "agent_versions": ShardKey(
        "agent", "publishing, lists, the version of a turn by its agent", "by id alone; " + _QUEUES
    ),
    "passages": ShardKey("version", "passages of a version", "none"),
    "check_suites": ShardKey("workspace", "all of the API", _QUEUES),
    "check_runs": ShardKey("workspace", "all of the API", _QUEUES),
    "audit": ShardKey("workspace", "all", "none"),
    "end_user_erasures": ShardKey("workspace", "all of the API", _QUEUES),
    "erased_logs": ShardKey("_id", "all by id", _QUEUES),
    "sources": ShardKey("workspace", "all of the API", f"{_QUEUES}, the ingest queue"),
    "budgets": ShardKey("workspace", "all of the API", _QUEUES),
    "usage_days": ShardKey("_id", "all: ids begin with the workspace", "none"),
    "end_user_usage_days": ShardKey("_id", "all: ids begin with the workspace", "none"),
    "webhooks": ShardKey("workspace", "all of the API", _QUEUES),
    "webhook_deliveries": ShardKey("workspace", "lists", "rounds of the sender, lanes"),
    "indexes": ShardKey("workspace", "whether a blob is needed", "by agent or key; the ingest queue"),
    "vectors": ShardKey("_id", "writes; removal of one build", "searches: mongot of every shard is asked"),
    "blobs.files": ShardKey("_id", "all: ids begin with the workspace", "the search for abandoned uploads"),
    "blobs.chunks": ShardKey("files_id", "all", "none"),
    "keys": ShardKey(None, "two unique digests have no common prefix, and the collection is small", ""),
    "workspaces": ShardKey(None, "small", ""),
    "backfills": ShardKey(None, "a few documents", ""),
    "restores": ShardKey(None, "a few documents", ""),
}


def page() -> str:
    parts = [OPERATIONS_TEXT, _operations(), READS_TEXT, INDEXES_TEXT, _indexes(), SHARDS_TEXT, _shards()]
    return markdown_page("MongoDB", "services/history/mongo", *parts)


def _operations() -> str:
    options: dict[str, Any] = client_options(())
    write = f"`w: {options['w']}, j: {str(options['journal']).lower()}`"
    read, preference = f"`{options['readConcernLevel']}`", f"`{options['readPreference']}`"
    rows = [
        ("insert, update, replace, delete; every collection", write, "", preference, _RECEIPTS),
        ("find; every collection", "", read, preference, _DECISIONS),
        ("GridFS: files and chunks", write, read, preference, "a source's document names its content"),
        ("aggregate with `$vectorSearch`", "", read, preference, "a search; its index is behind the writes anyway"),
        ("createIndexes, dropIndexes", write, "", preference, "no time limit: rules hold before work is taken"),
        ("update that matches nothing", write, "", preference, "asks whether a majority confirms writes"),
        ("hello, buildInfo, ping", "", "", preference, "suitability and readiness"),
    ]
    return table(("operation", "write concern", "read concern", "read preference", "why"), rows)


def _indexes() -> str:
    rows = [
        (f"`{name}`", _name(index), ", ".join(f"`{key}`" for key in index.keys), _partial(index), _purpose(name, index))
        for name, indexes in INDEXES.items()
        for index in indexes
    ]
    return table(("collection", "index", "members", "partial", "serves"), rows)


def _name(index: Index) -> str:
    name = str(index_model(index).document["name"])
    return f"**`{name}`**" if index.unique else f"`{name}`"


def _purpose(collection: str, index: Index) -> str:
    """A test names those that have none."""
    return PURPOSES[collection].get(str(index_model(index).document["name"]), "")


def _partial(index: Index) -> str:
    members = (index.partial or {}).items()
    return ", ".join(
        f"`{name}`" if isinstance(value, dict) else f"`{name}: {str(value).lower()}`" for name, value in members
    )


def _shards() -> str:
    rows = [
        (f"`{name}`", f"`{{{shard.key}: 1}}`" if shard.key else "none", shard.targeted, shard.scattered)
        for name, shard in SHARD_KEYS.items()
    ]
    return table(("collection", "shard key", "targeted", "scattered"), rows)
