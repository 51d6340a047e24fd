from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from yarl import URL

from services.agent_worker.tools.request import target_of
from services.agent_worker.tools.result import ToolFailure
from shared.contracts.tools import HttpTool

PARAMETERS = {
    "type": "object",
    "properties": {name: {} for name in ("id", "part", "q", "note")},
    "required": ["id", "part", "q"],
}


def tool(url: str, **given: Any) -> HttpTool:
    return HttpTool.model_validate({"name": "look_up", "url": url, "parameters": PARAMETERS, **given})


def test_parameters_fill_the_path_the_query_and_the_body() -> None:
    url, body = target_of(
        tool("https://shop.example/orders/{id}/{part}?lang={q}", query=["note"]),
        {"id": "10/42", "part": 7, "q": "de&en", "note": "x y", "extra": [1]},
    )
    assert str(url) == "https://shop.example/orders/10%2F42/7?lang=de%26en&note=x+y"
    assert orjson.loads(body or b"") == {"extra": [1]}


def test_a_get_has_no_body() -> None:
    url, body = target_of(tool("https://shop.example/{id}", method="GET"), {"id": "a", "tags": ["x", "y"]})
    assert (str(url), body) == ("https://shop.example/a?tags=x&tags=y", None)


@pytest.mark.parametrize("value", ["..", ".", "%2e%2e", "%2E."])
def test_a_value_cannot_leave_the_path(value: str) -> None:
    template = tool("https://shop.example/orders/{id}/items")
    if "%" in value:  # Encoded once more, so it is a name and no way up.
        assert target_of(template, {"id": value})[0].raw_path.startswith("/orders/%25")
        return
    with pytest.raises(ToolFailure):
        target_of(template, {"id": value})


def test_a_value_in_the_path_is_not_empty() -> None:
    with pytest.raises(ToolFailure, match="id must not be empty"):
        target_of(tool("https://shop.example/orders/{id}"), {"id": ""})


@given(st.text(), st.text())
def test_no_value_changes_where_a_request_goes(one: str, other: str) -> None:
    for method in ("GET", "POST"):
        try:
            url, _ = target_of(
                tool("https://shop.example:8443/a/{id}/b?q={q}", method=method), {"id": one, "q": other, "part": one}
            )
        except (ToolFailure, UnicodeEncodeError):
            continue
        again = URL(str(url))
        assert (again.scheme, again.host, again.port, again.user) == ("https", "shop.example", 8443, None)
        assert again.raw_path.startswith("/a/")
        assert again.raw_path.endswith("/b")
        assert again.raw_path.count("/") == 3
        assert again.fragment == ""
        assert again.query["q"] == other
