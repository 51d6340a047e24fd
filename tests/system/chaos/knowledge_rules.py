"""Pure: what an author was told of its sources, compared with what is stored of knowledge at the end.

Everything that is stored has a name that leads to a source, a version or an index. What has none was left behind.
"""

from collections import Counter
from collections.abc import Iterator
from typing import Any, Final, NamedTuple, TypeVar

from services.history.knowledge.ingest_queue import TOO_OFTEN
from tests.system.chaos.events import Added, History, Knowledge, Listed, Removed, Removing

E = TypeVar("E")

GONE: Final = "a purged source is gone"
LEFT: Final = "no knowledge is left behind"
KEPT: Final = "added knowledge is kept"
LATE: Final = "every source ends"
CAUSE: Final = "no source fails without cause"
COUNTS: Final = "counts of knowledge add up"
ONCE: Final = "no source twice"
AUDITED: Final = "knowledge is audited"
REFUSED: Final = "no unforeseen refusal"


class Fault(NamedTuple):
    rule: str
    seen: str


def knowledge_faults(history: History) -> Iterator[Fault]:
    """Nothing for a run that did not look at the stores."""
    for known in _all(history, Knowledge):
        yield from _purged(history, known)
        yield from _kept(history, known)
        yield from _audited(history, known)
        yield from _listed(history, known)
        yield from _ended(known)
        yield from _once(known)
        yield from _versions(known)
        yield from _passages(known)
        yield from _blobs(known)
        yield from _indexes(known)


def _all(history: History, kind: type[E]) -> list[E]:
    return [event for event in history.events if isinstance(event, kind)]


def _source_of(name: str) -> str:
    """Of an owner of passages, and of a blob: `<workspace>:<source>…`."""
    return name.split(":")[1]


def _living(known: Knowledge) -> list[dict[str, Any]]:
    return [row for row in known.sources if not row["removed"]]


# --- what authors were told


def _purged(history: History, known: Knowledge) -> Iterator[Fault]:
    removed = _all(history, Removed)
    for event in removed:
        if event.status not in (200, 404) or event.looked != 404:
            seen = f"its deletion was answered {event.status}, and a look at it {event.looked}"
            yield Fault(REFUSED if event.looked == 404 else GONE, f"{event.source}: {seen}")
    purged = {event.source for event in removed if event.purge}
    for source in sorted(purged):
        yield from (Fault(GONE, f"{source} is still {what}") for what in _traces(source, known))
    # The same text may have been taken in again, by a request whose answer was lost.
    titles = {row["title"] for row in known.sources}
    marks = {event.mark: event.source for event in _all(history, Added) if event.source in purged}
    wanted = _wanted_blobs(known)
    for collection, document, mark in known.found:
        is_told = collection.startswith("blobs.") and document not in wanted  # By the rule about blobs.
        if mark in marks and mark not in titles and not is_told:
            yield Fault(GONE, f"text of {marks[mark]} is still in {document} of {collection}")


def _traces(source: str, known: Knowledge) -> Iterator[str]:
    if any(row["id"] == source for row in known.sources):
        yield "a document of sources"
    for version in known.versions:
        if source in version["ids"] or any(entry["id"] == source for entry in version["sources"]):
            yield f"a source of the version {version['id']}"
    for owner, positions in known.passages.items():
        if _source_of(owner) == source:
            yield f"the owner of {len(positions)} passages, {owner}"
    yield from (f"the blob {blob}" for blob in known.blobs if _source_of(blob) == source)


def _kept(history: History, known: Knowledge) -> Iterator[Fault]:
    wished = {event.source for event in _all(history, Removing)}
    living = {row["id"]: row for row in _living(known)}
    for event in _all(history, Added):
        if event.source not in wished and event.source not in living:
            yield Fault(KEPT, f"{event.source} was added at {event.at:.1f} s, and is stored nowhere")


def _audited(history: History, known: Knowledge) -> Iterator[Fault]:
    for event in _all(history, Added):
        count = Counter(known.audited.get(event.source, ()))["knowledge.source_added"]
        if count != 1:
            yield Fault(AUDITED, f"{event.source}: {count} entries of its addition")
    for removed in _all(history, Removed):
        action = "knowledge.source_purged" if removed.purge else "knowledge.source_deleted"
        # A source that was deleted before, and that no version held, is not there to be purged.
        if not {action, "knowledge.source_deleted"} & set(known.audited.get(removed.source, ())):
            yield Fault(AUDITED, f"{removed.source}: no entry {action}")
    for row in known.sources:
        if row["unaudited"]:
            yield Fault(AUDITED, f"{row['id']}: {row['unaudited']} entries still wait in its document")


def _listed(history: History, known: Knowledge) -> Iterator[Fault]:
    for listed in _all(history, Listed):
        living = [row for row in _living(known) if row["agentId"] == listed.agent]
        stored, told = Counter(row["state"] for row in living), Counter(listed.counts)
        if +told != stored or sorted(listed.sources) != sorted(row["id"] for row in living):
            yield Fault(COUNTS, f"{listed.agent}: listed are {listed.sources} {dict(told)}, stored is {dict(stored)}")


# --- what is stored


def _ended(known: Knowledge) -> Iterator[Fault]:
    for row in known.sources:
        if row["erasing"] or row["waiting"] or row["state"] not in ("indexed", "failed"):
            what = "being erased" if row["erasing"] else row["state"]
            yield Fault(LATE, f"{row['id']} is still {what} in attempt {row['attempt']}")
        elif row["reason"] and TOO_OFTEN not in row["reason"]:
            yield Fault(CAUSE, f"{row['id']}: {row['reason']}")
    for version in known.versions:
        if version["state"] == "preparing":
            yield Fault(LATE, f"the version {version['id']} is still being prepared")
    for index in known.indexes:
        if index["waiting"]:
            yield Fault(LATE, f"the index {index['id']} still waits")


def _once(known: Knowledge) -> Iterator[Fault]:
    for name in ("contentKey", "title"):
        for (agent, value), count in Counter((row["agentId"], row[name]) for row in _living(known)).items():
            if count > 1:
                yield Fault(ONCE, f"{count} sources of {agent} have the {name} {value!r}")


def _versions(known: Knowledge) -> Iterator[Fault]:
    for version in known.versions:
        count = version["own"] + sum(entry["count"] for entry in version["sources"])
        if version["count"] != count:
            yield Fault(COUNTS, f"{version['id']} says {version['count']} passages, its sources have {count}")
        if sorted(version["ids"]) != sorted({entry["id"] for entry in version["sources"]}):
            yield Fault(COUNTS, f"{version['id']} names {version['ids']}, and has {version['sources']}")


def _passages(known: Knowledge) -> Iterator[Fault]:
    """Each reading that a draft or a version has is whole, and there is no other."""
    wanted = {version["owner"]: version["own"] for version in known.versions if version["own"]}
    for row in _living(known):
        if row["currentAttempt"]:
            wanted[f"{row['workspace']}:{row['id']}:{row['currentAttempt']}"] = row["passageCount"]
    for version in known.versions:
        wanted |= {entry["owner"]: entry["count"] for entry in version["sources"]}
    for owner, positions in known.passages.items():
        if owner not in wanted:
            yield Fault(LEFT, f"{len(positions)} passages of {owner}, which nothing names")
    for owner, count in wanted.items():
        if known.passages.get(owner, ()) != tuple(range(count)):
            yield Fault(COUNTS, f"{owner} should have {count} passages, and has {known.passages.get(owner, ())}")


def _blobs(known: Knowledge) -> Iterator[Fault]:
    """Each file of a source and of an index is whole, and there is no other."""
    wanted = _wanted_blobs(known)
    for blob, (size, there) in known.blobs.items():
        if blob not in wanted:
            yield Fault(LEFT, f"the blob {blob}, which nothing names: {there} bytes")
        elif size != there:
            yield Fault(KEPT, f"the blob {blob} has {there} of {size} bytes")
    for blob in sorted(wanted - known.blobs.keys()):
        yield Fault(KEPT, f"the blob {blob} is missing")


def _wanted_blobs(known: Knowledge) -> set[str]:
    of_sources = {f"{row['workspace']}:{row['id']}" for row in _living(known)}
    return of_sources | {blob for index in known.indexes for blob in index["blobs"]}


def _indexes(known: Knowledge) -> Iterator[Fault]:
    sets = {(version["agent"], version["key"]) for version in known.versions}
    for index in known.indexes:
        if (index["agent"], index["key"]) not in sets:
            yield Fault(LEFT, f"the index {index['id']}, whose set no version has")
    builds = {f"{index['id']}:{build}" for index in known.indexes for build in index["builds"]}
    for name in sorted(set(known.vectors) - builds):
        yield Fault(LEFT, f"vectors of {name}, which no index names")
