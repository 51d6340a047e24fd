import pytest

from services.history.agents.merge_patch import changes, merged


@pytest.mark.parametrize(
    ("target", "patch", "expected"),
    [
        # The examples of RFC 7396, appendix A.
        ({"a": "b"}, {"a": "c"}, {"a": "c"}),
        ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
        ({"a": "b"}, {"a": None}, {}),
        ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
        ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
        ({"a": "c"}, {"a": ["b"]}, {"a": ["b"]}),
        ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
        ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
        (["a", "b"], ["c", "d"], ["c", "d"]),
        ({"a": "b"}, ["c"], ["c"]),
        ({"a": "foo"}, None, None),
        ({"a": "foo"}, "bar", "bar"),
        ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
        ([1, 2], {"a": "b", "c": None}, {"a": "b"}),
        ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
    ],
)
def test_a_merge_patch_is_applied_as_the_rfc_says(target: object, patch: object, expected: object) -> None:
    assert merged(target, patch) == expected


def test_a_patch_leaves_the_target_as_it_was() -> None:
    target = {"a": {"b": 1}}
    merged(target, {"a": {"b": 2}})
    assert target == {"a": {"b": 1}}


def test_changes_name_the_innermost_fields() -> None:
    before = {"name": "Mia", "limits": {"contextTurns": 20}, "tools": [{"name": "order", "timeoutS": 5}]}
    after = {
        "name": "Mia",
        "limits": {"contextTurns": 10},
        "tools": [{"name": "order", "timeoutS": 9}, {"name": "book"}],
    }
    assert [(change.field, change.before, change.after) for change in changes(before, after)] == [
        ("limits.contextTurns", 20, 10),
        ("tools.book", None, {"name": "book"}),
        ("tools.order.timeoutS", 5, 9),
    ]


def test_a_new_order_of_tools_is_a_change() -> None:
    one, other = {"name": "a"}, {"name": "b"}
    assert [change.field for change in changes({"tools": [one, other]}, {"tools": [other, one]})] == ["tools"]


def test_equal_configurations_have_no_changes() -> None:
    assert changes({"a": [1, {"b": 2}]}, {"a": [1, {"b": 2}]}) == []
