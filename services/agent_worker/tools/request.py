"""What an HTTP tool sends for a call's arguments. Pure.

Arguments fill the path, the query and the body, and never the host.
"""

from typing import Any, Final
from urllib.parse import quote, unquote

import orjson
from yarl import URL

from services.agent_worker.tools.result import ToolFailure
from shared.contracts.tools import HttpTool, filled, variables_of

_DOT_SEGMENTS: Final = frozenset({".", ".."})


def target_of(tool: HttpTool, arguments: dict[str, Any]) -> tuple[URL, bytes | None]:
    """The URL and the body; None where all arguments are in the URL.

    Raises ToolFailure for a value that no URL can hold.
    """
    in_url = set(variables_of(tool.url))
    rest = {name: value for name, value in arguments.items() if name not in in_url}
    url = _filled_url(tool.url, {name: arguments.get(name) for name in in_url})
    if tool.method == "GET":
        return with_query(url, rest), None
    queried = {name: value for name, value in rest.items() if name in tool.query}
    body = {name: value for name, value in rest.items() if name not in tool.query}
    return with_query(url, queried), orjson.dumps(body)


def _filled_url(template: str, values: dict[str, Any]) -> URL:
    if not values:
        return URL(template)
    path = template.partition("?")[0]
    for name, value in values.items():
        if f"{{{name}}}" in path and as_text(value) == "":
            raise ToolFailure(f"The parameter {name} must not be empty.")
    url = URL(filled(template, {name: quote(as_text(value), safe="") for name, value in values.items()}), encoded=True)
    # Servers and proxies resolve `..`, encoded or not. A value must not leave the path that the author wrote.
    if values and not _DOT_SEGMENTS.isdisjoint(unquote(part) for part in url.raw_path.split("/")):
        raise ToolFailure("A parameter in the path must not be `.` or `..`.")
    return url


def with_query(url: URL, arguments: dict[str, Any]) -> URL:
    """Adds arguments to the URL's query: text as it is, list items one by one, everything else as JSON."""
    items = [
        (name, item) for name, value in arguments.items() for item in (value if isinstance(value, list) else [value])
    ]
    return url.extend_query([(name, as_text(item)) for name, item in items if item is not None])


def as_text(value: Any) -> str:
    return value if isinstance(value, str) else orjson.dumps(value).decode()
