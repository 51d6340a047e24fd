"""Ids that sort by time, as ranges of a page are made of them."""

from shared.ids import id_at, is_id, is_name, new_id, time_of


def test_an_id_lies_in_the_millisecond_that_it_names() -> None:
    session_id = new_id("ses")
    moment = time_of(session_id)
    assert is_id("ses", id_at("ses", moment))
    assert id_at("ses", moment) <= session_id < id_at("ses", moment + 1)
    assert time_of(id_at("ses", moment)) == moment


def test_a_name_is_what_a_path_accepts() -> None:
    assert all(map(is_name, ("acme", "agt_demo", "A-1", "x" * 64)))
    assert not any(map(is_name, ("", "x" * 65, "a b", "a/b", "ä", "a:b", "acme\n", "$x", "a.b")))
