"""Alert rules, dashboard and scrape configuration agree with the code, with each other and with the documents."""

import json
import re
import subprocess
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from deploy.reference import metrics
from tests.programs import required_program

ROOT: Final = Path(__file__).parents[3]
HERE: Final = ROOT / "deploy" / "observability"
# What Prometheus adds to a metric's name for the series of a histogram.
PARTS: Final = re.compile(r"_(bucket|sum|count)$")

# Who bounds a label's values. A new label needs a row, and a test where clients can come near its values.
BOUNDED: Final = {
    **dict.fromkeys(("agent", "model"), "the first so many pairs, test_usage_meter.py"),
    **dict.fromkeys(("method", "route", "status"), "templates of routes and known methods, test_request_metrics.py"),
    "upstream": "the operator's settings; a name that an agent made up is `unknown`",
    **dict.fromkeys(
        (
            "action",
            "backfill",
            "code",
            "kind",
            "leg",
            "limit",
            "loop",
            "operation",
            "outcome",
            "queue",
            "quirk",
            "reason",
            "stage",
            "state",
            "store",
            "type",
            "where",
        ),
        "constants of the code",
    ),
}


def read(name: str) -> Any:
    return yaml.safe_load((HERE / name).read_text())


def rules() -> dict[str, dict[str, Any]]:
    return {rule["alert"]: rule for group in read("alerts.yml")["groups"] for rule in group["rules"]}


def panel_queries() -> list[str]:
    panels = json.loads((HERE / "dashboard.json").read_text())["panels"]
    return [target["expr"] for panel in panels for target in panel.get("targets", ())]


def promtool(*arguments: str) -> "subprocess.CompletedProcess[str]":
    command = [required_program("promtool", "prometheus"), *arguments]
    return subprocess.run(command, cwd=HERE, capture_output=True, text=True, timeout=60, check=False)


def test_prometheus_takes_the_rules_and_the_configuration() -> None:
    for arguments in (("check", "rules", "alerts.yml"), ("check", "config", "prometheus.yml")):
        done = promtool(*arguments)
        assert done.returncode == 0, done.stdout + done.stderr


def test_each_alert_fires_alone_while_its_cause_lasts_and_is_silent_before_and_after() -> None:
    done = promtool("test", "rules", "alerts_test.yml")
    assert done.returncode == 0, done.stdout + done.stderr
    assert {test["name"] for test in read("alerts_test.yml")["tests"]} == set(rules())
    for test in read("alerts_test.yml")["tests"]:
        expected = [bool(check.get("exp_samples")) for check in test["promql_expr_test"]]
        assert sorted(expected) == [False, False, True], test["name"]


@pytest.mark.parametrize("alert", rules())
def test_an_alert_without_its_threshold_fails_the_rules_test(alert: str, tmp_path: Path) -> None:
    """The rules' test would show a rule that never fires. Only the alert's own part of it is run, for speed."""
    tested = read("alerts_test.yml")
    own = [test for test in tested["tests"] if test["name"] == alert]
    (tmp_path / "alerts_test.yml").write_text(yaml.safe_dump({**tested, "tests": own}))
    text = (HERE / "alerts.yml").read_text()
    assert f"alert: {alert}\n" in text
    (tmp_path / "alerts.yml").write_text(re.sub(rf"alert: {alert}\n", "alert: Other\n", text))
    done = promtool("test", "rules", str(tmp_path / "alerts_test.yml"))
    assert done.returncode == 1
    assert alert in done.stdout + done.stderr


def test_rules_and_panels_ask_for_metrics_that_exist() -> None:
    known = {name.strip("`") for name in re.findall(r"`parley_\w+`", metrics.page())}
    queries = [rule["expr"] for rule in rules().values()] + panel_queries()
    assert len(panel_queries()) > 30
    for query in queries:
        for name in re.findall(r"parley_\w+", query):
            assert name in known or PARTS.sub("", name) in known, f"{name} in {query}"


def test_each_label_is_one_whose_values_are_bounded_by_someone_who_is_named() -> None:
    """A client who made up a label's value would fill the memory of Prometheus."""
    rows = re.findall(r"(?m)^\| `parley_\w+` \| \w+ \| (.+?) \|", metrics.page())
    labels = {label for row in rows for label in re.findall(r"`(\w+)`", row)}
    assert labels == BOUNDED.keys()


def test_rules_and_configuration_name_the_same_jobs_and_the_ports_of_the_compose_file() -> None:
    compose = yaml.safe_load((ROOT / "deploy" / "compose.yaml").read_text())["services"]
    for scrape in read("prometheus.yml")["scrape_configs"]:
        (target,) = scrape["dns_sd_configs"]
        (service,) = target["names"]
        assert scrape["job_name"] == f"parley-{service}"
        environment = compose[service]["environment"]
        # A gateway has metrics on its private port only.
        assert target["port"] == environment.get("PARLEY_PRIVATE_PORT", environment["PARLEY_PORT"])


def test_the_operators_page_says_what_each_alert_means_and_what_to_do() -> None:
    told = re.findall(
        r"^\| `(Parley\w+)` \| .+ \| .+ \|$", (ROOT / "deploy" / "OPERATING.md").read_text(), re.MULTILINE
    )
    assert told == list(rules())


def test_panels_show_tokens_and_cost_by_agent_and_model() -> None:
    for metric in ("parley_agent_tokens_total", "parley_agent_cost_total"):
        (query,) = (query for query in panel_queries() if metric in query)
        assert "by (agent, model)" in query


def test_no_two_panels_have_one_id_or_lie_upon_each_other() -> None:
    panels = json.loads((HERE / "dashboard.json").read_text())["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    places = [
        (x, y)
        for grid in (panel["gridPos"] for panel in panels)
        for x in range(grid["x"], grid["x"] + grid["w"])
        for y in range(grid["y"], grid["y"] + grid["h"])
    ]
    assert len(set(places)) == len(places)
