from itertools import islice, pairwise

import pytest

from shared.backoff import backoff, jittered


@pytest.mark.parametrize("jitter", [0.5, 1.0])
def test_pauses_double_up_to_the_last(jitter: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shared.backoff.random.uniform", lambda low, high: {0.5: low, 1.0: high}[jitter])
    assert list(islice(backoff(0.1, 1.0), 6)) == pytest.approx([jitter * s for s in (0.1, 0.2, 0.4, 0.8, 1.0, 1.0)])


def test_every_pause_is_between_half_and_the_whole() -> None:
    pauses = list(islice(backoff(1.0, 1.0), 100))
    assert all(0.5 <= pause_s <= 1.0 for pause_s in pauses)
    assert any(one != other for one, other in pairwise(pauses))


def test_an_interval_stays_within_its_spread() -> None:
    assert all(7.0 <= jittered(10.0) <= 13.0 for _ in range(100))
