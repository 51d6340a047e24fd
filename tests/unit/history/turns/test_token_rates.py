import random

import pytest

from services.history.turns.token_rates import LEAST, MOST, ModelKey, TokenRates, model_of, updated
from shared.contracts.agents import AgentConfig, ModelChoice
from shared.contracts.turns import Usage

MODEL = ModelKey("default", "any")
# 100 tokens by the general estimate.
TEXT = "four" * 100


def observed(rates: TokenRates, reported: int, **usage: int | bool) -> float:
    said = [{"role": "user", "content": TEXT * 9}, {"role": "assistant", "content": TEXT}]
    rates.observe(MODEL, said, Usage.model_validate({"completion_tokens": reported, **usage}))
    return rates.factor(MODEL)


@pytest.mark.parametrize("rate", [0.5, 1.0, 1.4, 2.5])
def test_the_factor_comes_to_the_rate_that_a_model_reports(rate: float) -> None:
    rates = TokenRates()
    for _ in range(200):
        observed(rates, round(100 * rate))
    assert rates.factor(MODEL) == pytest.approx(rate, rel=0.02)


def test_one_answer_moves_the_factor_only_a_little() -> None:
    assert 1.0 < observed(TokenRates(), 200) < 1.1


def test_what_is_no_rate_of_text_changes_nothing() -> None:
    rates = TokenRates()
    assert observed(rates, 5_000) == 1.0  # Thoughts that are reported as text.
    assert observed(rates, 0) == 1.0
    assert observed(rates, 200, estimated=True) == 1.0
    assert observed(rates, 250, reasoning_tokens=150) == 1.0
    assert updated(1.3, 0, 50) == updated(1.3, 3, 9) == 1.3


def test_the_factor_stays_within_its_bounds_whatever_is_reported() -> None:
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    chance, factor = random.Random(seed), 1.0
    for _ in range(2_000):
        factor = updated(factor, chance.randrange(0, 5_000), chance.randrange(-10, 20_000))
        assert LEAST <= factor <= MOST


def test_calls_count_as_text_and_models_are_told_apart() -> None:
    rates = TokenRates()
    call = {"name": "look_up", "arguments": TEXT}
    rates.observe(MODEL, [{"role": "assistant", "toolCalls": [call]}], Usage(completion_tokens=204))
    assert rates.factor(MODEL) > 1.0
    assert rates.factor(ModelKey("other", "any")) == rates.factor(None) == 1.0


def test_no_more_models_are_remembered_than_allowed() -> None:
    rates = TokenRates(models=2)
    for name in ("a", "b", "c"):
        rates.observe(ModelKey("default", name), [{"role": "assistant", "content": TEXT}], Usage(completion_tokens=200))
    assert [rates.factor(ModelKey("default", name)) > 1.0 for name in "abc"] == [False, True, True]


def test_an_agent_with_fallbacks_does_not_say_which_model_answered() -> None:
    config = AgentConfig(name="One", model=ModelChoice(name="any"))
    assert model_of(config) == MODEL
    assert model_of(config.model_copy(update={"fallback_models": (ModelChoice(name="other"),)})) is None
