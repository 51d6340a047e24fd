"""The users of `deploy/redis` may run what the scripts run, and nothing that harms a shared Redis."""

import re
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).parents[3]
# Who runs the scripts of a folder; scripts elsewhere belong to every service.
SCRIPTS: Final = {
    "services/gateway": {"gateway"},
    "services/history": {"history"},
    "services/agent_worker": {"worker"},
    "shared/run_log": {"worker", "history"},
    "shared": {"gateway", "worker", "history"},
}
# Only who owns the streams writes them: a gateway may read run logs and nothing more.
OF_STREAMS: Final = re.compile("x(?:add|ack|del|revrange)")


def granted(name: str) -> set[str]:
    words = (ROOT / "deploy" / "redis" / f"{name}.acl").read_text().split()
    return {word[1:] for word in words if word.startswith("+")}


def used_by(folder: str) -> set[str]:
    text = "".join(path.read_text() for path in (ROOT / folder).rglob("*.lua"))
    return {name.lower() for name in re.findall(r"redis\.p?call\(\s*['\"](\w+)['\"]", text)}


@pytest.mark.parametrize("name", ["gateway", "worker", "history"])
def test_a_user_may_run_what_its_scripts_run(name: str) -> None:
    used = set().union(*(used_by(folder) for folder, users in SCRIPTS.items() if name in users))
    if name == "gateway":
        used = {command for command in used if not OF_STREAMS.fullmatch(command)}
    if name == "worker":
        used -= {"xack", "xdel"}
    assert used - granted(name) == set(), f"add these to deploy/redis/{name}.acl"


@pytest.mark.parametrize("name", ["gateway", "worker", "history"])
def test_a_user_may_not_harm_a_shared_redis(name: str) -> None:
    harmful = {
        "flushall",
        "flushdb",
        "config",
        "debug",
        "keys",
        "scan",
        "monitor",
        "shutdown",
        "acl",
        "client",
        "script",
    }
    assert not granted(name) & harmful
    words = (ROOT / "deploy" / "redis" / f"{name}.acl").read_text().split()
    assert "-@all" in words
    assert not {"~*", "&*", "allkeys", "allchannels", "nopass", "+@all"} & set(words)
