import random

import pytest

from services.history.turns.branches import MAX_RANGES, Branch, Ranges, also_hidden, is_hidden, shown_below
from shared.contracts.errors import ApiError


def test_an_erased_turn_is_hidden_once_whatever_is_hidden_already() -> None:
    assert also_hidden((), 3) == ((3, 3),)
    assert also_hidden(((2, 4),), 3) == ((2, 4),)
    assert also_hidden(((1, 2), (4, 6)), 3) == ((1, 6),)
    assert also_hidden(((5, 6),), 2) == ((2, 2), (5, 6))
    assert also_hidden(also_hidden(((5, 6),), 2), 2) == ((2, 2), (5, 6))


def hidden_of(branch: Branch, n: int) -> Ranges:
    return tuple((low, high) for low, high in branch.members(n).get("hidden", ()))


def test_a_turn_without_branches_hides_nothing_and_adds_nothing_to_its_document() -> None:
    assert Branch().members(7) == {}
    assert list(shown_below((), 4)) == [3, 2, 1]


def test_a_regenerated_turn_hides_what_it_replaces_and_its_followers_hide_it_too() -> None:
    fourth = hidden_of(Branch((), 2), 4)
    assert fourth == ((3, 3),)
    assert hidden_of(Branch(fourth), 5) == ((3, 3),)
    assert list(shown_below(fourth, 5)) == [4, 2, 1]


def test_regenerating_many_times_takes_one_range() -> None:
    hidden: Ranges = ()
    for n in range(4, 900):
        hidden = hidden_of(Branch(hidden, n - 2), n)
    assert hidden == ((3, 898),)


def test_branches_are_those_of_a_tree_that_is_walked_by_parents() -> None:
    seed = random.randrange(10**6)
    print("seed", seed)
    dice = random.Random(seed)
    parents: dict[int, int] = {}
    hidden: dict[int, Ranges] = {}
    for n in range(1, 120):
        kind, named = dice.choice(("last", "last", "after", "instead")), dice.randint(1, max(1, n - 1))
        if n == 1 or kind == "last":
            parents[n], branch = n - 1, Branch(hidden.get(n - 1, ()))
        elif kind == "after":
            parents[n], branch = named, Branch(hidden[named], named)
        else:
            parents[n], branch = parents[named], Branch(hidden[named], named - 1)
        hidden[n] = hidden_of(branch, n)
        ancestors, at = [], n
        while at := parents[at]:
            ancestors.append(at)
        assert list(shown_below(hidden[n], n)) == ancestors
        assert [each for each in range(n - 1, 0, -1) if not is_hidden(hidden[n], each)] == ancestors


def test_a_session_has_a_bounded_number_of_branches() -> None:
    many = tuple((each, each) for each in range(2, 2 * MAX_RANGES + 2, 2))
    with pytest.raises(ApiError, match="Start a new session"):
        Branch(many, 2 * MAX_RANGES + 5).members(2 * MAX_RANGES + 9)
