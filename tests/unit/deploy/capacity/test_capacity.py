"""The model of capacity: what a load needs, which part is full first, and the table of OPERATING.md."""

import json
from pathlib import Path

import pytest

from deploy.capacity.__main__ import TOO_MUCH, main, parse, planned, table
from deploy.capacity.costs import MEASURED, Processor, UnitCosts, read_costs
from deploy.capacity.model import FULL, Bounds, Load, Need, needs, steps
from services.agent_worker.settings import WorkerSettings
from services.gateway.settings import GatewaySettings

ROOT = Path(__file__).resolve().parents[4]
COSTS = UnitCosts(
    conditions="round figures",
    gateway=Processor(turn_ms=1, token_us=10),
    worker=Processor(turn_ms=2, token_us=40),
    history=Processor(turn_ms=4, token_us=5),
    queue_redis=Processor(turn_ms=0.3, token_us=0),
    stream_redis=Processor(turn_ms=0.2, token_us=15),
    stream_kib=18,
    stream_us_s=10,
    log_kib=10,
    writes_per_turn=5,
    reads_per_turn=2,
    document_kib=3,
)
LOAD = Load(streams=20_000, turns_per_minute=6_000, tokens_per_turn=400, tokens_per_s=50)


def _by_part(found: list[Need]) -> dict[str, Need]:
    return {need.part: need for need in found}


def test_each_part_is_counted_by_what_fills_it_most() -> None:
    found = _by_part(needs(COSTS, LOAD, Bounds()))
    # 100 turns and 40,000 tokens a second; 800 turns run.
    assert (found["gateways"].by, found["gateways"].units) == ("streams", 2.0)
    assert found["workers"].by == "turns"
    assert found["workers"].units == pytest.approx(800 / (FULL * 100))
    assert found["histories"].units == pytest.approx((0.4 + 0.2) / FULL)
    assert found["queue Redis"].units == pytest.approx(0.03 / FULL)
    # A run log stays for 15 minutes after its turn: 90,800 logs of 10 KiB.
    assert found["stream Redis"].by == "CPU"
    assert found["stream Redis"].units == pytest.approx(0.62 / FULL)
    assert needs(COSTS, LOAD, Bounds(redis_gib=0.1))[2].by == "memory"
    assert found["MongoDB primaries"].units == pytest.approx(500 / 10_000)


def test_twice_the_load_needs_twice_of_everything() -> None:
    once, twice = needs(COSTS, LOAD, Bounds()), needs(COSTS, LOAD.times(2), Bounds())
    assert [need.units for need in twice] == pytest.approx([2 * need.units for need in once])


def test_the_limit_of_a_step_is_the_part_that_is_full_first_when_nothing_is_added() -> None:
    first, second = steps(COSTS, LOAD, Bounds(), (0.1, 1.0))
    assert first.limit.part == "workers"
    # One worker of 100 turns, 60 % full, runs 60 turns of 8 seconds.
    assert first.full_at == pytest.approx(450)
    # With the two workers of the first step.
    assert second.limit.part == "workers"
    assert second.full_at == pytest.approx(900)


def test_a_load_beyond_the_one_queue_is_said_not_to_fit(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert steps(COSTS, LOAD, Bounds(), (1.0,))[0].is_possible
    assert not steps(COSTS, LOAD.times(30), Bounds(), (1.0,))[0].is_possible
    file = tmp_path / "costs.json"
    file.write_text(json.dumps(COSTS.wire()))
    assert main(["--costs", str(file), "--turns", "1e6"]) == 0
    assert TOO_MUCH in capsys.readouterr().out


def test_scripts_get_every_need_with_its_fill(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--json", "--turns", "60", "--streams", "100"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["conditions"] == read_costs().conditions
    assert told["steps"][-1]["streams"] == 100
    assert set(told["steps"][-1]["needs"]) == {need.part for need in needs(COSTS, LOAD, Bounds())}


def test_a_file_of_another_form_is_refused_in_one_line(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    file = tmp_path / "costs.json"
    for text in ("{", '{"conditions": "none"}', json.dumps(COSTS.wire() | {"streamKib": -1})):
        file.write_text(text)
        assert main(["--costs", str(file)]) == 2
        assert "cannot be read as unit costs" in capsys.readouterr().err
    assert main(["--costs", str(tmp_path / "absent.json")]) == 2


@pytest.mark.parametrize("value", ["0", "-1", "many", "nan", "1e12"])
def test_a_load_that_is_no_positive_number_is_refused(value: str) -> None:
    with pytest.raises(SystemExit):
        parse(["--streams", value])


def test_the_bounds_are_the_settings_defaults() -> None:
    gateway, worker = GatewaySettings.model_fields, WorkerSettings.model_fields
    defaults = gateway["streams_limit"].default, worker["max_turns"].default, worker["log_keep_s"].default
    assert defaults == (Bounds().gateway_streams, Bounds().worker_turns, Bounds().log_keep_s)


def test_the_operators_guide_has_the_table_of_the_measured_costs() -> None:
    guide = (ROOT / "deploy/OPERATING.md").read_text()
    assert "\n".join(table(planned(parse([]), read_costs(MEASURED)))) in guide
