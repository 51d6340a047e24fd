"""The table of calls says what history reads, and what its callers send and read."""

import asyncio
import inspect
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, BinaryIO, Final, get_args, get_type_hints

import aiohttp
import orjson
import pytest
from aiohttp import web
from pydantic import BaseModel

from services.history import api
from services.history.api.routes import ROUTES
from shared import history_api
from shared.history_api.transport import Query
from shared.history_client import HistoryClient
from tests.contracts import schema_file
from tests.contracts.bodies import by_class, models_in
from tests.contracts.calls import CALLS
from tests.contracts.reading import Row, lost, read_call, row_of
from tests.contracts.samples import Samples, arguments

ADVICE: Final = (
    "write the bodies of the call into tests/contracts/calls.py, and see whether the last release reads them"
)
METHODS: Final = sorted(
    name
    for name, method in inspect.getmembers(HistoryClient, inspect.iscoroutinefunction)
    if not name.startswith("_") and name != "ready"
)


def routes() -> dict[str, Any]:
    """History's handlers by method and path."""
    added = web.Application().router.add_routes(ROUTES)
    return {f"{each.method} {each.resource.canonical}": each.handler for each in added if each.resource is not None}


def classes_in(body: dict[str, Any] | None) -> list[str]:
    return [model.partition(":")[2] for model in models_in(body)]


def test_every_route_of_history_is_in_the_table_of_calls() -> None:
    named = [row.name for row in CALLS]
    assert len(named) == len(set(named))
    assert set(named) == set(routes()), ADVICE


def test_history_reads_the_requests_that_the_table_says() -> None:
    rows = {row.name: row for row in CALLS}
    for name, handler in routes().items():
        read = re.findall(r"read_schema\(request, (\w+)\)", inspect.getsource(handler))
        assert read == classes_in(rows[name].request), f"{name}: {ADVICE}"


def test_models_that_are_written_with_null_are_in_the_table() -> None:
    """Everything else is written by `Schema.wire`, which leaves null out."""
    files = [*Path(inspect.getfile(api)).parent.glob("*.py"), *Path(inspect.getfile(history_api)).parent.glob("*.py")]
    found = {f"{path.parent.name}/{path.name}": path.read_text().count(".model_dump(") for path in files}
    known = {"api/usage.py": 1, "api/drafts.py": 1, "history_api/keys.py": 2}
    advice = "if it writes null, name the model in NULLS of tests/contracts/calls.py"
    assert {name: count for name, count in found.items() if count} == known, advice


class ToldClient(HistoryClient):
    """Answers each call with what the table says. `sent`: the bodies, with the calls' rows."""

    def __init__(self, known: dict[str, Any], *, full: bool) -> None:
        super().__init__(["http://history"], "token")
        self.sent: list[tuple[Row, Any]] = []
        self._samples = Samples(known, full=full)

    async def _exchange(
        self,
        base: str,
        method: str,
        path: str,
        raw: bytes | AsyncIterator[bytes] | None,
        query: Query | None,
        timeout: aiohttp.ClientTimeout | None = None,
    ) -> Any:
        row = self._row(method, path)
        self.sent.append((row, orjson.loads(raw) if isinstance(raw, bytes) else None))
        return self._reply(by_class(row.reply)) if row.reply is not None else None

    async def _download(self, path: str, file: BinaryIO) -> None:
        self.sent.append((self._row("GET", path), None))

    def _row(self, method: str, path: str) -> Row:
        row = row_of({"method": method, "path": path.partition("?")[0]}, CALLS)
        assert row is not None, f"{method} {path}: {ADVICE}"
        return row

    def _reply(self, body: dict[str, Any]) -> Any:
        """Where the table has several models, one value that each of them takes."""
        several = body.get("anyOf", ())
        if several and not any(each.get("type") == "null" for each in several):
            return {name: value for each in several for name, value in self._samples.value(each).items()}
        return self._samples.value(body)


@pytest.mark.parametrize("full", [True, False], ids=["all members", "needed members"])
def test_callers_of_history_send_and_read_what_the_table_says(full: bool) -> None:
    client = ToldClient(schema_file.today()["read"], full=full)
    for name in METHODS:
        method = getattr(client, name)
        defaults = {
            each.name: 1 for each in inspect.signature(method).parameters.values() if each.default != each.empty
        }
        already = len(client.sent)
        try:
            asyncio.run(method(**arguments(method, defaults, full=full)))
            assert len(client.sent) == already + 1, name
            row, body = client.sent[-1]
            faults = unread(row, body)
        except (ValueError, KeyError, TypeError) as error:
            raise AssertionError(f"{name} does not send or read what the table says; {ADVICE}: {error!r}") from error
        assert not faults, f"{name}: {row.name}: {faults}: {ADVICE}"
        returned = _models_of(get_type_hints(method)["return"]) - {"CreatedKey"}  # Made by the client itself.
        assert returned <= set(classes_in(row.reply)), f"{name}: {row.name}: {ADVICE}"
    # Some calls of a table's row differ in what they leave out.
    assert {row.name for row, _ in client.sent} >= {row.name for row in CALLS} - UNCALLED_BY_DEFAULT


# Only with an argument that has a default, or only without it.
UNCALLED_BY_DEFAULT: Final = frozenset(
    {
        "POST /workspaces/{workspace}/webhooks/{webhook_id}/replay",
        "POST /workspaces/{workspace}/webhooks/{webhook_id}/deliveries/{event_id}/replay",
    }
)


def unread(row: Row, body: Any) -> list[str]:
    """What of a request history does not know."""
    if row.request is None:
        # Some clients send `{}` where history reads nothing.
        return [f"{body} is not read"] if body else []
    pairs = list(read_call({"body": body, "status": 500}, row))
    return [fault for sent, read in pairs for fault in lost(sent, read)]


def _models_of(kind: Any) -> set[str]:
    if inspect.isclass(kind) and issubclass(kind, BaseModel):
        return {kind.__name__}
    return {name for each in get_args(kind) for name in _models_of(each)}
