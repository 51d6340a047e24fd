"""Each alert is planted in a long test or named as one that cannot be, and the faster rules are the same rules."""

import json
import re
import subprocess
from pathlib import Path

import pytest

from tests.programs import required_program
from tests.system.chaos.conditions import BY_RULES_TEST_ONLY, CONDITIONS
from tests.system.chaos.paced_rules import names, paced
from tests.system.chaos.watch import RULES


def test_each_alert_has_a_condition_or_is_named_as_one_that_cannot_be_planted() -> None:
    planted = frozenset[str]().union(*(condition.fires for condition in CONDITIONS))
    assert planted | BY_RULES_TEST_ONLY == names(RULES.read_text())
    assert not planted & BY_RULES_TEST_ONLY


def test_prometheus_takes_the_faster_rules_and_they_have_the_same_thresholds(tmp_path: Path) -> None:
    rules = paced(RULES.read_text())
    (tmp_path / "alerts.yml").write_text(rules)
    command = [required_program("promtool", "prometheus"), "check", "rules", str(tmp_path / "alerts.yml")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert names(rules) == names(RULES.read_text())
    thresholds = re.compile(r"[<>=]=? ?([\d.]+)")
    faster = [rule["expr"] for rule in json.loads(rules)["groups"][0]["rules"]]
    assert thresholds.findall("\n".join(faster)) == thresholds.findall(RULES.read_text().partition("rules:")[2])
    assert not re.search(r"\[\d+m\]", rules)


def test_a_duration_that_is_not_in_minutes_is_refused() -> None:
    rules = "groups: [{name: g, rules: [{alert: A, expr: up == 0, for: 1h}]}]"
    with pytest.raises(ValueError, match="not in minutes"):
        paced(rules)
