"""Whether a history answers recorded reads as they were answered when they were recorded."""

from collections.abc import Iterable
from typing import Any

import aiohttp


async def answered_otherwise(
    base_url: str, token: str, reads: Iterable[dict[str, Any]], *, by_older: bool = False
) -> list[str]:
    """One line for each member that has another value now.

    `by_older`: an older release answers, which does not know all members.
    """
    found = list[str]()
    async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {token}"}) as http:
        for read in reads:
            query = [(name, value) for name, value in read["query"]]
            async with http.get(f"{base_url}{read['path']}", params=query) as answer:
                told = await answer.json()
            if answer.status != read["status"]:
                found.append(f"{read['path']}: {answer.status} {told}")
            else:
                found += changed(read["reply"], told, read["path"], by_older=by_older)
    return found


def changed(before: Any, now: Any, place: str, *, by_older: bool) -> list[str]:
    """What is absent now, or has another value. New members, and new items of a list with ids, are no change."""
    if isinstance(before, dict) and isinstance(now, dict):
        names = [name for name in before if name in now or not by_older]
        pairs = [(f"{place}.{name}", before[name], now.get(name)) for name in names]
    elif isinstance(before, list) and isinstance(now, list):
        named = {_name(each, index): each for index, each in enumerate(now)}
        pairs = [(f"{place}[]", each, named.get(_name(each, index))) for index, each in enumerate(before)]
    else:
        return [] if before == now else [f"{place}: {before!r} is now {now!r}"]
    return [fault for where, one, other in pairs for fault in changed(one, other, where, by_older=by_older)]


def _name(item: Any, place: int) -> Any:
    return item.get("id", item.get("number", place)) if isinstance(item, dict) else place
