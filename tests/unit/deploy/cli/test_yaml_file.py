import pytest

from deploy.cli.yaml_file import YamlError, read_yaml

FAULTS = [
    ("a: &x 1\nb: *x", 1, "anchor"),
    ("a: 1\nb: *x", 2, "alias"),
    ("a: !!python/object/apply:os.system [ls]", 1, "tag"),
    ("a: !include other.yaml", 1, "tag"),
    ("base: {a: 1}\nb:\n  <<: {a: 1}", 3, "merge key"),
    ("a:\n\tb: 1", 2, "a tab: indent with spaces"),
    ("a:\n  - b\n\t- c", 3, "a tab: indent with spaces"),
    ("a: 1\nb: 2\na: 3", 3, "a is there twice, first in line 1"),
    ("a: 1\n---\nb: 2", 2, "a second document"),
    ("? [a]\n: 1", 1, "keys are text"),
    ("a: b: c", 1, "mapping values are not allowed"),
    ("a:\n  - b\n c: d", 3, "expected"),
    ("a: 1\nb: \x01", 2, "U+0001"),
    ("[" * 65 + "]" * 65, 1, "more than 64 levels"),
]


@pytest.mark.parametrize(("text", "line", "words"), FAULTS)
def test_what_is_not_allowed_is_refused_with_its_line(text: str, line: int, words: str) -> None:
    with pytest.raises(YamlError) as refused:
        read_yaml(text.encode())
    assert (refused.value.line, words in refused.value.message) == (line, True), refused.value.message


def test_an_anchor_bomb_is_refused_at_its_first_anchor() -> None:
    bomb = "a: &a [x, x]\n" + "\n".join(f"b{n}: &b{n} [*a, *a, *a, *a, *a, *a, *a, *a, *a]" for n in range(20))
    with pytest.raises(YamlError) as refused:
        read_yaml(bomb.encode())
    assert refused.value.line == 1


def test_bytes_that_are_no_text_are_refused_with_their_line() -> None:
    with pytest.raises(YamlError) as refused:
        read_yaml(b"a: 1\nb: \xff")
    assert (refused.value.line, refused.value.message) == (2, "the file is not UTF-8")


def test_a_huge_file_is_refused_unread() -> None:
    with pytest.raises(YamlError, match="bytes"):
        read_yaml(b"a" * (2 << 20))


def test_plain_values_mean_what_json_means_and_everything_else_is_text() -> None:
    text = "a: [1, -2, 1.5, 1e3, true, false, null, ~, '1', \"true\"]\n"
    text += "b: [no, on, 012, 1_000, 2026-01-31, 0x1F, .inf, 1:30]"
    assert read_yaml(text.encode()).value == {
        "a": [1, -2, 1.5, 1000.0, True, False, None, None, "1", "true"],
        "b": ["no", "on", "012", "1_000", "2026-01-31", "0x1F", ".inf", "1:30"],
    }


def test_every_key_and_entry_knows_its_line() -> None:
    document = read_yaml(b"# first\na: 1\nb:\n  - c: 1\n    d: |\n      \ttext\n  - e\nf: {g: 1}\n")
    assert document.value == {"a": 1, "b": [{"c": 1, "d": "\ttext\n"}, "e"], "f": {"g": 1}}
    lines = {("a",): 2, ("b",): 3, ("b", 0): 4, ("b", 0, "c"): 4, ("b", 0, "d"): 5, ("b", 1): 7, ("f", "g"): 8}
    assert {path: document.line_of(path) for path in lines} == lines
    assert document.line_of(("b", 0, "nowhere", 3)) == 4


def test_an_empty_file_is_no_value() -> None:
    assert read_yaml(b"# nothing\n").value is None
