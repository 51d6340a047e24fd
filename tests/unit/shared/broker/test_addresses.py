import pytest

from shared.broker.addresses import check, sentinel_address, split_urls
from shared.settings import Settings, SettingsError

TOKEN = {"PARLEY_INTERNAL_TOKEN": "a-token-for-tests-only"}


def test_a_sentinel_url_names_sentinels_master_user_and_database() -> None:
    address = sentinel_address("redis+sentinel://me:pa%40ss@a:26380,b,[::1]:26379/mymaster/3?health_check_interval=5")
    assert address.sentinels == (("a", 26380), ("b", 26379), ("::1", 26379))
    assert address.master == "mymaster"
    assert address.server == "redis://me:pa%40ss@server/3?health_check_interval=5"
    assert (address.username, address.password) == (None, None)


def test_a_sentinel_url_without_user_and_database_has_the_first_database() -> None:
    assert sentinel_address("redis+sentinel://a/m").server == "redis://server/0"


def test_sentinels_have_a_password_of_their_own_which_redis_does_not_get() -> None:
    address = sentinel_address(
        "rediss+sentinel://a/m/0?sentinel_password=s%26&sentinel_username=u&ssl_ca_certs=/ca.pem"
    )
    assert (address.username, address.password) == ("u", "s&")
    assert address.server == "rediss://server/0?ssl_ca_certs=%2Fca.pem"


def test_a_list_of_urls_is_split_only_before_a_scheme() -> None:
    urls = "redis+sentinel://a:1,b:2/m/0, redis://c:6379/0 ,rediss+sentinel://d,e/n,"
    assert split_urls(urls) == ("redis+sentinel://a:1,b:2/m/0", "redis://c:6379/0", "rediss+sentinel://d,e/n")
    assert split_urls("  ") == ()


@pytest.mark.parametrize(
    ("url", "fault"),
    [
        ("redis+sentinel://:secret@a:26379", "must name the master"),
        ("redis+sentinel://:secret@a:26379/", "must name the master"),
        ("redis+sentinel://:secret@a:26379/m/zero", "number of a database"),
        ("redis+sentinel://:secret@a:26379,,b/m/0", "a host between all commas"),
        ("redis+sentinel:///m/0", "a host between all commas"),
        ("redis+sentinel://:secret@a:port/m/0", "a port that is not a number"),
        ("redis://:secret@a:port/0", "a port that is not a number"),
        ("redis://:secret@a:1,b:2/0", "names several hosts"),
        ("sentinel://:secret@a/m", "must begin with redis://"),
        ("a:6379", "must begin with redis://"),
    ],
)
def test_a_wrong_url_is_refused_at_the_start_in_one_line_without_its_password(url: str, fault: str) -> None:
    with pytest.raises(ValueError, match=fault):
        check(url)
    for name in ("QUEUE_REDIS_URL", "STREAM_REDIS_URLS"):
        with pytest.raises(SettingsError) as refused:
            Settings.load(TOKEN | {f"PARLEY_{name}": url})
        (line,) = str(refused.value).splitlines()
        assert line.startswith(f"PARLEY_{name}: ")
        assert fault in line
        assert "secret" not in line


def test_settings_take_a_list_of_sentinel_urls() -> None:
    urls = ("redis+sentinel://a,b/one/0", "redis+sentinel://a,b/two/0")
    assert Settings.load(TOKEN | {"PARLEY_STREAM_REDIS_URLS": ",".join(urls)}).stream_urls == urls
