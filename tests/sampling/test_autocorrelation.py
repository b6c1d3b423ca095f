"""Autocorrelation times against sums that are known."""

import pytest

from hf_llc.sampling.autocorrelation import INDEPENDENT, autocorrelation


def test_the_sums_of_pairs_are_positive_and_do_not_rise() -> None:
    """1.5 and 0.15 are added, 0.9 after it counts as 0.15 (Geyer 1992), and the first that is not positive ends it."""
    values = [1.0, 0.5, 0.1, 0.05, 0.5, 0.4, -0.3, 0.1, 0.9, 0.9]
    result = autocorrelation(lambda lag: values[lag] if lag < len(values) else 0.0, 40, 10**9)
    assert result.time == pytest.approx(2 * (1.5 + 0.15 + 0.15) - 1)
    assert result.correlations[:4] == pytest.approx((1.0, 0.5, 0.1, 0.05))
    assert sum(result.correlations) == pytest.approx(1.8)


def test_what_centring_takes_is_put_back() -> None:
    """Deviations from the mean of T draws have autocovariances that are less by τσ²/T."""
    rho, draws = 0.8, 100
    time = (1 + rho) / (1 - rho)
    result = autocorrelation(lambda lag: rho**lag - time / draws, draws, draws)
    assert result.time == pytest.approx(time, rel=0.03)
    assert autocorrelation(lambda lag: rho**lag - time / draws, draws, 10**9).time < 0.85 * time


def test_stretches_let_a_mean_seem_better_known_than_it_is() -> None:
    """The variance of the mean of b draws is σ²/b (1 + 2 Σ (1 − l/b) ρ_l), that of many is σ²τ/b."""
    rho = 0.5
    result = autocorrelation(lambda lag: rho**lag, 200, 10**9)
    seen = 1 + 2 * sum((1 - lag / 6) * rho**lag for lag in range(1, 6))
    assert result.unseen(6) == pytest.approx(3.0 / seen, rel=1e-6)
    assert result.unseen(1) == pytest.approx(3.0, rel=1e-6)
    assert result.unseen(10_000) == pytest.approx(1.0, abs=1e-3)


def test_what_does_not_vary_or_alternates_is_as_good_as_independent() -> None:
    assert autocorrelation(lambda _: 0.0, 10, 10) == INDEPENDENT
    assert autocorrelation(lambda lag: (-0.9) ** lag, 100, 10**9).time == 1.0
