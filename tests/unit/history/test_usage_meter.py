"""Metrics of tokens and cost by agent and model have a bounded number of series."""

from prometheus_client import REGISTRY

from services.history.usage.meter import OTHER, UsageMeter


def use(model: str, **members: object) -> dict[str, object]:
    return {"upstream": "default", "model": model, "usage": {"promptTokens": 30, "completionTokens": 7}, **members}


def test_the_first_agents_and_models_have_series_of_their_own() -> None:
    meter = UsageMeter(agents=2, series=3)
    assert meter.labels("agt_1", "default/a") == ("agt_1", "default/a")
    assert meter.labels("agt_2", "default/a") == ("agt_2", "default/a")
    assert meter.labels("agt_1", "default/b") == ("agt_1", "default/b")
    assert meter.labels("agt_3", "default/a") == (OTHER, OTHER)
    assert meter.labels("agt_2", "default/b") == ("agt_2", OTHER)
    assert meter.labels("agt_2", "default/a") == ("agt_2", "default/a")


def test_a_long_name_is_cut() -> None:
    assert len(UsageMeter().labels("agt_1", "m" * 5000)[1]) == 100


def test_tokens_and_cost_are_counted() -> None:
    UsageMeter().count("agt_metered", [use("demo", cost=2_500_000_000), use("unpriced")])
    labels = {"agent": "agt_metered", "model": "default/demo"}
    assert REGISTRY.get_sample_value("parley_agent_tokens_total", {**labels, "kind": "prompt"}) == 30
    assert REGISTRY.get_sample_value("parley_agent_tokens_total", {**labels, "kind": "completion"}) == 7
    assert REGISTRY.get_sample_value("parley_agent_cost_total", labels) == 2.5
    assert REGISTRY.get_sample_value("parley_agent_cost_total", {**labels, "model": "default/unpriced"}) is None
