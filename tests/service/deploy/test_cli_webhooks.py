"""`parley webhooks` and `parley budgets`, run as programs against a gateway and a history."""

from pathlib import Path

import orjson

from tests.service.deploy import test_cli_keys
from tests.service.deploy.test_cli_keys import parley
from tests.service.gateway.edge.workspace_scene import Scene

stage = test_cli_keys.stage


async def test_a_webhook_is_made_changed_listed_and_deleted(stage: Scene, tmp_path: Path) -> None:
    url, other = "https://hooks.example/a", "https://hooks.example/b"
    made = await parley(stage, tmp_path, "webhooks", "create", url, "--event", "turn.completed", "--json")
    assert (made.code, made.err) == (0, "")
    webhook = orjson.loads(made.out)
    assert (webhook["url"], webhook["events"], webhook["secret"][:6]) == (url, ["turn.completed"], "whsec_")
    changed = await parley(stage, tmp_path, "webhooks", "change", webhook["id"], "--endpoint", other, "--disable")
    assert changed.code == 0, changed.err
    listed = await parley(stage, tmp_path, "webhooks", "list", "--json")
    rows = {row["id"]: (row["url"], row["enabled"]) for row in orjson.loads(listed.out)}
    assert rows[webhook["id"]] == (other, False)
    assert (await parley(stage, tmp_path, "webhooks", "rm", webhook["id"])).code == 0
    assert webhook["id"] not in (await parley(stage, tmp_path, "webhooks", "list")).out
    assert (await parley(stage, tmp_path, "webhooks", "change", webhook["id"])).code == 2


async def test_a_budget_is_set_listed_and_removed(stage: Scene, tmp_path: Path) -> None:
    subject = f"agent:{stage.own.ids['agentId']}"
    made = await parley(stage, tmp_path, "budgets", "set", subject, "--daily-tokens", "1000")
    assert made.code == 0, made.err
    assert subject in (await parley(stage, tmp_path, "budgets", "list")).out
    removed = await parley(stage, tmp_path, "budgets", "rm", subject)
    assert (removed.code, removed.err) == (0, "")
    assert subject not in (await parley(stage, tmp_path, "budgets", "list")).out
    assert (await parley(stage, tmp_path, "budgets", "set", subject)).code == 2


async def test_sessions_are_listed_since_a_day_or_a_time(stage: Scene, tmp_path: Path) -> None:
    for since in ("2026-01-31", "2026-01-31T09:00:00Z", "2026-01-31T09:00:00+02:00"):
        done = await parley(stage, tmp_path, "sessions", "list", "--since", since)
        assert done.code == 0, done.err
    refused = await parley(stage, tmp_path, "sessions", "list", "--since", "yesterday")
    assert (refused.code, "--since" in refused.err, "2026-01-31" in refused.err) == (2, True, True)
