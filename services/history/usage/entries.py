"""Pure: what an ended turn adds to which documents of the ledger."""

import hashlib
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, Final, NamedTuple

import orjson

from services.history.mongo.filters import Document
from shared.contracts.prices import PriceTable
from shared.contracts.turns import FinishedTurn, ModelUse
from shared.contracts.usage import tokens_of

COUNTERS: Final = (
    "turns",
    "promptTokens",
    "completionTokens",
    "cachedTokens",
    "reasoningTokens",
    "estimatedTokens",
    "unpricedTokens",
    "cost",
)
# What the ledger reads of a turn.
READ: Final = {
    "workspace": 1,
    "agentId": 1,
    "keyId": 1,
    "endUserId": 1,
    "uses": 1,
    "endedAt": 1,
    "attempt": 1,
    "spent": 1,
}


class Entry(NamedTuple):
    """One turn's share of one document of the ledger. `identity` are the members that make the document."""

    id: str
    turn_id: str
    identity: Document
    counts: Mapping[str, int]


def priced_uses(finished: FinishedTurn, prices: PriceTable) -> list[Document]:
    """The turn's tokens by model, each with its cost where the price is known, as its document holds them."""
    uses = finished.uses
    if not uses and finished.usage is not None and tokens_of(finished.usage):
        uses = (ModelUse(upstream="", model="", usage=finished.usage),)  # Of a worker that did not tell the model.
    return priced(uses, prices)


def priced(uses: Iterable[ModelUse], prices: PriceTable) -> list[Document]:
    rows = []
    for use in uses:
        cost = prices.cost_nano(use.upstream, use.model, use.usage)
        rows.append({**use.wire(), **({} if cost is None else {"cost": cost})})
    return rows


def lost_uses(spent: Mapping[str, list[Document]], attempt: int) -> list[Document]:
    """What attempts before the turn's last one have told of their use. `attempt`: the last one's number.

    `spent` has the attempts' numbers as text. The last attempt's own result has all that it used.
    """
    return [use for number, uses in sorted(spent.items()) if int(number) != attempt for use in uses]


def unbilled(is_check: bool) -> Document:
    """For the update that ends a turn: the ledger adds it afterwards. Turns of checks are not billed."""
    return {} if is_check else {"unbilled": True}


def day_of(at: datetime) -> str:
    return at.date().isoformat()


def entries_of(row: Document) -> list[Entry]:
    """A turn counts once, also when it asked several models. Its end user's share is kept apart, to be erased."""
    uses = [*(row.get("uses") or ()), *lost_uses(row.get("spent") or {}, row["attempt"])] or [{}]
    day, workspace = day_of(row["endedAt"]), row["workspace"]
    common = {"agentId": row["agentId"], "keyId": row.get("keyId")}
    entries = []
    for index, use in enumerate(uses):
        model = f"{use['upstream']}/{use['model']}" if use.get("model") else None
        identity = {"day": day, **common, "model": model}
        counts = _counts(use, is_first=index == 0)
        entries.append(Entry(f"{workspace}:{day}:{_digest(identity)}", row["_id"], identity, counts))
        if (end_user := row.get("endUserId")) is not None:
            name = f"{end_user_prefix(workspace, end_user)}{day}:{_digest(identity)}"
            entries.append(Entry(name, row["_id"], {**identity, "endUserId": end_user}, counts))
    return entries


def end_user_prefix(workspace: str, end_user: str) -> str:
    """How the ids of an end user's documents begin. An end user's name may hold any character, so it is hashed."""
    return f"{workspace}:{hashlib.sha256(end_user.encode()).hexdigest()[:32]}:"


def _counts(use: Mapping[str, Any], *, is_first: bool) -> dict[str, int]:
    usage = use.get("usage") or {}
    prompt, completion = usage.get("promptTokens", 0), usage.get("completionTokens", 0)
    return {
        "turns": int(is_first),
        "promptTokens": prompt,
        "completionTokens": completion,
        "cachedTokens": usage.get("cachedTokens", 0),
        "reasoningTokens": usage.get("reasoningTokens", 0),
        "estimatedTokens": prompt + completion if usage.get("estimated") else 0,
        "unpricedTokens": 0 if "cost" in use else prompt + completion,
        "cost": use.get("cost", 0),
    }


def summed(counts: Iterable[Mapping[str, int]]) -> dict[str, int]:
    total = dict.fromkeys(COUNTERS, 0)
    for each in counts:
        for name in COUNTERS:
            total[name] += each.get(name, 0)
    return total


def _digest(identity: Document) -> str:
    return hashlib.sha256(orjson.dumps(identity, option=orjson.OPT_SORT_KEYS)).hexdigest()[:24]
