"""The deployment at a glance: `parley status --watch` and `--once`."""

from pathlib import Path

import orjson

from tests.system.cli.terminal import Terminal
from tests.system.cli.test_parley_chat import run, user
from tests.system.stack import Client, Stack

AWAY = "http://127.0.0.1:9"


async def test_one_look_as_json_shows_processes_queue_streams_and_rates(
    stack: Stack, client: Client, tmp_path: Path
) -> None:
    env = user(stack, tmp_path)
    code, out, err = await run("status", "--once", "--json", "--local", str(stack.data_dir), cwd=tmp_path, env=env)
    assert code == 0, err
    seen = orjson.loads(out)
    assert {each["kind"] for each in seen["processes"]} == {"gateway", "history", "ingest", "worker"}
    assert seen["waiting"] == 0
    assert seen["workers"] >= 1
    assert {line["name"] for line in seen["errors"]} >= {"failed turns", "answers 5xx", "model faults"}
    assert all(line["per_s"] is not None for line in seen["rates"])


async def test_processes_that_are_away_are_shown_and_end_nothing(stack: Stack, tmp_path: Path) -> None:
    env = user(stack, tmp_path)
    private = stack.facts["gateways"][0]
    code, out, err = await run(
        "status", "--once", "--json", "--target", private, "--target", AWAY, cwd=tmp_path, env=env
    )
    assert code == 0, err
    states = {each["url"]: each["state"] for each in orjson.loads(out)["processes"]}
    assert states == {private: "ready", AWAY: "away"}
    code, _, err = await run("status", "--once", "--target", AWAY, cwd=tmp_path, env=env)
    assert (code, err) == (5, b"parley: no process answers\n")
    code, _, err = await run("status", "--watch", cwd=tmp_path, env=env)
    assert code == 2
    assert b"PARLEY_OVERVIEW_URLS" in err


async def test_the_watch_shows_tables_until_it_is_interrupted(stack: Stack, tmp_path: Path) -> None:
    arguments = ("status", "--watch", "--local", str(stack.data_dir))
    async with Terminal(*arguments, cwd=tmp_path, env=user(stack, tmp_path)) as terminal:
        await terminal.shows("waiting")
        await terminal.shows("history")
        terminal.type("\x03")
        assert await terminal.ends() == 130
