from pathlib import Path

import pytest

from deploy.cli.config import Config, Profile, normal_url
from deploy.cli.exits import CliError, Exit
from deploy.cli.lock import Lock, Seen


def config(tmp_path: Path) -> tuple[Config, dict[str, str]]:
    environment = {"PARLEY_CONFIG": str(tmp_path / "below" / "config.json")}
    made = Config.read(environment)
    made.profiles = {
        "default": Profile(url="http://one", key="k1"),
        "other": Profile(url="https://two", key="k2"),
    }
    made.write()
    return Config.read(environment), environment


def test_the_file_is_for_its_owner_alone(tmp_path: Path) -> None:
    made, environment = config(tmp_path)
    assert made.file.stat().st_mode & 0o777 == 0o600
    assert made.file.parent.stat().st_mode & 0o777 == 0o700
    made.file.chmod(0o640)
    with pytest.raises(CliError, match="chmod 600"):
        Config.read(environment)


def test_a_broken_file_is_named_and_not_shown(tmp_path: Path) -> None:
    made, environment = config(tmp_path)
    made.file.write_text('{"profiles": {"default": {"url": "x", "secret": "k1"}}}')
    with pytest.raises(CliError) as refused:
        Config.read(environment)
    assert (refused.value.exit, "k1" in refused.value.message) == (Exit.BAD_FILE, False)


def test_options_win_over_variables_and_variables_over_the_profile(tmp_path: Path) -> None:
    made, _ = config(tmp_path)

    def chosen(url: str | None = None, profile: str | None = None, **variables: str) -> tuple[str, str | None]:
        target = made.target(url, profile, variables)
        return target.url, target.key

    assert chosen() == ("http://one", "k1")
    assert chosen(profile="other") == ("https://two", "k2")
    assert chosen(PARLEY_PROFILE="other") == ("https://two", "k2")
    assert chosen(PARLEY_URL="http://three/api/v1/", PARLEY_API_KEY="k3") == ("http://three", "k3")
    assert chosen(PARLEY_API_KEY="k3") == ("http://one", "k3")
    assert chosen(url="http://four", PARLEY_URL="http://three", PARLEY_API_KEY="k3") == ("http://four", "k3")
    assert chosen(profile="other", PARLEY_URL="http://three", PARLEY_API_KEY="k3") == ("https://two", "k2")


def test_a_profiles_key_goes_to_its_own_server_only(tmp_path: Path) -> None:
    made, _ = config(tmp_path)
    assert made.target(None, None, {"PARLEY_URL": "http://elsewhere"}).key is None
    assert made.target("http://elsewhere", "other", {}).key is None


def test_an_unknown_profile_is_refused(tmp_path: Path) -> None:
    made, _ = config(tmp_path)
    with pytest.raises(CliError, match="there is no profile third"):
        made.target(None, "third", {})


@pytest.mark.parametrize("url", ["", "localhost:8080", "ftp://x", "http://", "http://a@b", "http://x?k=1"])
def test_what_is_no_servers_address_is_refused(url: str) -> None:
    with pytest.raises(CliError):
        normal_url(url)


def test_keys_are_not_in_the_text_of_values(tmp_path: Path) -> None:
    made, _ = config(tmp_path)
    assert "k1" not in repr(made.profiles) + repr(made.target(None, None, {}))


def test_the_lock_keeps_what_was_seen_for_each_server(tmp_path: Path) -> None:
    file = tmp_path / "agent.yaml"
    lock = Lock.beside(file)
    assert lock.seen("http://one") is None
    lock.note("http://one", Seen("agt_1", 3))
    lock.note("http://two", Seen("agt_2", 1, checks=4))
    assert Lock.beside(file).seen("http://one") == Seen("agt_1", 3)
    assert Lock.beside(file).seen("http://two") == Seen("agt_2", 1, checks=4)
    (tmp_path / "agent.yaml.lock").write_text("<<<<<<< HEAD")
    with pytest.raises(CliError, match="overwrite"):
        Lock.beside(file)
