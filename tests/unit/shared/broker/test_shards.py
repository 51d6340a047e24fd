from zlib import crc32

import pytest

from shared.broker.shards import Shards
from shared.ids import id_at, new_id, time_of
from shared.settings import Settings, SettingsError

TOKEN = {"PARLEY_INTERNAL_TOKEN": "x" * 16}
A, B, C = "redis://a:6379/0", "redis://b:6379/0", "redis://c:6379/0"
THEN = 1_798_700_400_000
SINCE, UNTIL = "#since=2026-12-31T07:00:00Z", "#until=2026-12-31T08:00:00%2B01:00"


def ids_at(time_ms: int, count: int = 300) -> list[str]:
    return [id_at("trn", time_ms)[:-16] + new_id("trn")[-16:] for _ in range(count)]


def test_a_list_without_times_places_turns_as_earlier_releases_do() -> None:
    shards = Shards([A, B, C])
    assert all(shards.of(turn) == crc32(turn.encode()) % 3 for turn in ids_at(THEN))


def test_the_old_and_the_new_list_agree_on_every_turn_of_before_the_new_shard_s_time() -> None:
    old, new = Shards([A, B]), Shards([A, B, C + SINCE])
    before = ids_at(0) + ids_at(THEN - 1)
    assert [old.of(turn) for turn in before] == [new.of(turn) for turn in before]
    assert {new.of(turn) for turn in ids_at(THEN)} == {0, 1, 2}


def test_a_shard_that_is_taken_away_keeps_the_turns_that_it_has_and_gets_no_others() -> None:
    old, ending, gone = Shards([A, B, C]), Shards([A, B + UNTIL, C]), Shards([A, C])
    before, after = ids_at(THEN - 1), ids_at(THEN)
    assert [old.of(turn) for turn in before] == [ending.of(turn) for turn in before]
    assert {ending.urls[ending.of(turn)] for turn in after} == {A, C}
    assert [ending.urls[ending.of(turn)] for turn in after] == [gone.urls[gone.of(turn)] for turn in after]


def test_turns_stay_where_they_are_through_several_changes() -> None:
    shards = Shards([A, B + UNTIL, C + SINCE, "redis://d:1/0#since=2026-12-31T09:00:00Z&until=2026-12-31T10:00:00Z"])
    hour = 3_600_000
    taking = [{shards.of(turn) for turn in ids_at(THEN + hours * hour)} for hours in (-1, 0, 2, 3)]
    assert taking == [{0, 1}, {0, 2}, {0, 2, 3}, {0, 2}]


def test_what_is_no_id_has_a_place_too() -> None:
    assert Shards([A, B + SINCE]).of("nonsense!") == 0


def test_shards_tell_how_many_take_turns_will_or_did() -> None:
    shards = Shards([A, B + UNTIL, C + SINCE])
    assert shards.states(THEN - 1) == {"active": 2, "planned": 1, "draining": 0}
    assert shards.states(THEN) == {"active": 2, "planned": 0, "draining": 1}


def test_new_ids_are_placed_by_their_time() -> None:
    shards = Shards([A, B + SINCE])
    turns = [new_id("trn") for _ in range(100)]
    assert {shards.of(turn) for turn in turns if time_of(turn) < THEN} <= {0}


@pytest.mark.parametrize(
    ("urls", "fault"),
    [
        (A + SINCE, "must begin with a URL without #since= and #until="),
        (f"{A},{B}#since=tomorrow", "a time with an offset after #since="),
        (f"{A},{B}#since=2026-12-31T07:00:00", "a time with an offset after #since="),
        (f"{A},{B}#until=2026-12-31", "a time with an offset after #until="),
        (f"{A},{B}#from=2026-12-31T07:00:00Z", "only since=TIME and until=TIME"),
        (f"{A},{B}#2026", "only since=TIME and until=TIME"),
        (f"{A},{B}#since=2026-12-31T07:00:00Z&until=2026-12-31T07:00:00Z", "before the one after until="),
    ],
)
def test_a_wrong_time_is_refused_at_the_start_in_one_line(urls: str, fault: str) -> None:
    with pytest.raises(SettingsError) as refused:
        Settings.load(TOKEN | {"PARLEY_STREAM_REDIS_URLS": urls})
    (line,) = str(refused.value).splitlines()
    assert line.startswith("PARLEY_STREAM_REDIS_URLS: ")
    assert fault in line


def test_the_queue_takes_no_time() -> None:
    with pytest.raises(SettingsError, match="only the URLs of PARLEY_STREAM_REDIS_URLS take"):
        Settings.load(TOKEN | {"PARLEY_QUEUE_REDIS_URL": A + SINCE})


def test_settings_give_the_addresses_and_the_list_with_its_times() -> None:
    settings = Settings.load(TOKEN | {"PARLEY_STREAM_REDIS_URLS": f"{A}, {B}{SINCE}"})
    assert settings.stream_urls == (A, B)
    assert settings.stream_shards == (A, B + SINCE)
