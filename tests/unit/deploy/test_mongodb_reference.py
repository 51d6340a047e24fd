"""The page on MongoDB agrees with the code: every index has a purpose, and every shard key would be accepted."""

import pytest

from deploy.reference.mongodb import SHARD_KEYS, page
from services.history.mongo.index_purposes import PURPOSES
from services.history.mongo.indexes import INDEXES, index_model
from services.history.mongo.migrations import STEPS


def test_every_index_has_a_purpose_and_every_purpose_an_index() -> None:
    names = {name: {str(index_model(index).document["name"]) for index in of} for name, of in INDEXES.items()}
    assert {name: set(of) for name, of in PURPOSES.items()} == names


def test_a_unique_index_is_said_to_be_a_rule_and_no_other_is() -> None:
    for name, indexes in INDEXES.items():
        for index in indexes:
            purpose = PURPOSES[name][str(index_model(index).document["name"])]
            assert purpose.startswith("rule") == index.unique, (name, index.keys)


def test_every_collection_has_a_row_about_shards() -> None:
    assert {*INDEXES, *STEPS} <= SHARD_KEYS.keys()


@pytest.mark.parametrize("collection", sorted(INDEXES))
def test_every_unique_index_begins_with_the_shard_key(collection: str) -> None:
    """Otherwise MongoDB refuses to shard the collection."""
    key = SHARD_KEYS[collection].key
    firsts = {index.keys[0] for index in INDEXES[collection] if index.unique}
    assert key is None or firsts <= {key}


def test_the_page_states_the_concerns_that_the_drivers_are_given() -> None:
    text = page()
    assert "`w: majority, j: true`" in text
    assert "| find; every collection |  | `majority` | `primary` |" in text
