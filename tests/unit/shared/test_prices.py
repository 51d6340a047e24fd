"""Prices: what tokens cost, and price tables that cannot be used."""

from pathlib import Path

import orjson
import pytest

from services.history.settings import prices_of
from shared.contracts.prices import ModelPrices, PriceTable
from shared.contracts.turns import Usage


def test_cached_tokens_have_a_price_of_their_own() -> None:
    usage = Usage(prompt_tokens=1000, completion_tokens=10, total_tokens=1010, cached_tokens=900)
    assert ModelPrices(input=2.0, cached=0.2, output=8.0).cost_nano(usage) == 200_000 + 180_000 + 80_000
    assert ModelPrices(input=2.0, output=8.0).cost_nano(usage) == 2_000_000 + 80_000


def test_a_model_without_an_entry_has_no_cost_instead_of_none() -> None:
    table = PriceTable(models={"default/free": ModelPrices(input=0, output=0)})
    usage = Usage(prompt_tokens=5, completion_tokens=5, total_tokens=10)
    assert (table.cost_nano("default", "free", usage), table.cost_nano("default", "other", usage)) == (0, None)


@pytest.mark.parametrize("suffix", ["json", "toml"])
def test_a_table_is_read_from_json_or_toml(tmp_path: Path, suffix: str) -> None:
    file = tmp_path / f"prices.{suffix}"
    text = {
        "json": orjson.dumps({"currency": "EUR", "models": {"default/a": {"input": 1, "output": 2.5}}}).decode(),
        "toml": 'currency = "EUR"\n[models."default/a"]\ninput = 1\noutput = 2.5\n',
    }
    file.write_text(text[suffix])
    assert prices_of(str(file)) == PriceTable(currency="EUR", models={"default/a": ModelPrices(input=1, output=2.5)})


@pytest.mark.parametrize(
    "table",
    [
        {"models": {"default/a": {"input": 1}}},
        {"models": {"default/a": {"input": -1, "output": 1}}},
        {"models": {"default/a": {"input": "NaN", "output": 1}}},
        {"models": {"default/a": {"input": 1, "output": 1, "cache": 1}}},
        {"currency": "euro"},
        {"prices": {}},
        [],
    ],
)
def test_a_table_with_a_fault_is_refused_and_the_file_is_named(tmp_path: Path, table: object) -> None:
    file = tmp_path / "prices.json"
    file.write_bytes(orjson.dumps(table))
    with pytest.raises(ValueError, match=r"prices\.json"):
        prices_of(str(file))


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="cannot be read"):
        prices_of(str(tmp_path / "none.json"))
