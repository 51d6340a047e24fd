from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from deploy.cli.difference import Difference, differences, lines_of, merge_patch

VALUES = st.recursive(
    st.booleans() | st.integers() | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=10,
)
DRAFTS = st.dictionaries(st.text(max_size=3), VALUES, max_size=4)


def merged(target: Any, patch: Any) -> Any:
    """RFC 7396 as it stands in the RFC."""
    if not isinstance(patch, dict):
        return patch
    result = dict(target) if isinstance(target, dict) else {}
    for name, value in patch.items():
        if value is None:
            result.pop(name, None)
        else:
            result[name] = merged(result.get(name), value)
    return result


@given(DRAFTS, DRAFTS)
def test_the_patch_makes_the_one_the_other(before: dict[str, Any], after: dict[str, Any]) -> None:
    assert merged(before, merge_patch(before, after)) == after


@given(DRAFTS, DRAFTS)
def test_there_are_differences_exactly_where_drafts_differ(before: dict[str, Any], after: dict[str, Any]) -> None:
    assert bool(differences(before, after)) == (before != after)


def test_tools_are_compared_by_their_names() -> None:
    before = {"tools": [{"name": "a", "url": "x"}, {"name": "b", "url": "y"}]}
    after = {"tools": [{"name": "a", "url": "x"}, {"name": "b", "url": "z"}, {"name": "c"}]}
    assert differences(before, after) == [
        Difference("tools.b.url", "y", "z"),
        Difference("tools.c", None, {"name": "c"}),
    ]


def test_lines_show_short_values_inline_and_long_texts_line_by_line() -> None:
    assert list(lines_of(Difference("model.name", "a", "b"))) == ["~ model.name: a → b"]
    assert list(lines_of(Difference("limits", None, {"a": 1}))) == ['+ limits: {"a":1}']
    assert list(lines_of(Difference("instructions", "one\ntwo\n", "one\nthree\n"))) == [
        "~ instructions:",
        "      one",
        "    - two",
        "    + three",
    ]
