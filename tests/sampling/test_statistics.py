"""Means, errors and R-hat of draws, on draws whose truth is known."""

import math

import numpy
import pytest

from hf_llc.sampling.statistics import (
    FEWEST,
    MANY_CHAINS,
    log_ratio,
    r_hat_by_chance,
    student,
    summarise,
    two_levels,
    widened_at_two,
)


def autoregressive(chains: int, draws: int, correlation: float, seed: int) -> numpy.ndarray:
    """Stationary AR(1) draws of variance 1 and mean 3, shape (chains, draws)."""
    stream = numpy.random.default_rng(seed)
    values = numpy.empty((chains, draws))
    values[:, 0] = stream.normal(size=chains)
    for index in range(1, draws):
        values[:, index] = correlation * values[:, index - 1] + math.sqrt(1 - correlation**2) * stream.normal(
            size=chains
        )
    return values + 3


@pytest.mark.parametrize("correlation", [0.0, 0.6, 0.9])
def test_the_stated_error_is_the_spread_of_repeated_means(correlation: float) -> None:
    results = [summarise(autoregressive(4, 400, correlation, seed).tolist()) for seed in range(120)]
    spread = numpy.std([one.mean for one in results], ddof=1)
    stated = numpy.mean([one.mcse for one in results])
    # The spread of 120 means is itself known to 1/√(2·119), 6.5 %; the maximum with the chains' spread adds a little.
    assert 0.85 * spread < stated < 1.35 * spread
    covered = [abs(one.mean - 3) < 2 * one.mcse for one in results]
    assert numpy.mean(covered) > 0.9


def test_effective_size_is_that_of_the_autocorrelation() -> None:
    summary = summarise(autoregressive(4, 4000, 0.8, seed=0).tolist())
    assert summary.ess == pytest.approx(16_000 * 0.2 / 1.8, rel=0.15)
    assert summary.r_hat is not None
    assert summary.r_hat < 1.01


def test_chains_around_different_means_have_a_large_r_hat_and_error() -> None:
    draws = autoregressive(4, 200, 0.0, seed=0) + numpy.array([[0.0], [0.0], [4.0], [4.0]])
    summary = summarise(draws.tolist())
    assert summary.r_hat is not None
    assert summary.r_hat > 1.5
    assert summary.mcse > 0.9


@pytest.mark.parametrize(("draws", "correlation"), [(150, 0.78), (200, 0.6), (400, 0.9)])
def test_chance_takes_r_hat_past_its_99th_percentile_in_about_one_run_of_a_hundred(
    draws: int, correlation: float
) -> None:
    results = [summarise(autoregressive(4, draws, correlation, seed).tolist()) for seed in range(200)]
    past = [one for one in results if (one.r_hat or 0.0) > (one.r_hat_chance or math.inf)]
    # 2 ± 1.4 of 200, and the effective sample size is itself an estimate.
    assert len(past) <= 10
    often = [one for one in results if (one.r_hat or 0.0) > 0.85 * ((one.r_hat_chance or 0.0) - 1) + 1]
    assert len(often) >= 2


def test_chains_around_different_means_pass_what_chance_explains() -> None:
    for seed in range(20):
        draws = autoregressive(4, 150, 0.78, seed) + numpy.array([[-0.7], [0.7], [-0.7], [0.7]])
        summary = summarise(draws.tolist())
        assert summary.r_hat is not None
        assert summary.r_hat_chance is not None
        assert summary.r_hat > summary.r_hat_chance


def test_the_percentile_is_that_of_chi_squared() -> None:
    """χ²₇ is below 18.475 in 99 of 100 cases, χ²₃ below 11.345 (tables)."""
    assert r_hat_by_chance([20.0] * 4) ** 2 - 1 == pytest.approx(18.475 / 7 / 10, rel=5e-3)
    assert r_hat_by_chance([50.0, 30.0]) ** 2 - 1 == pytest.approx(11.345 / 3 / 20, rel=5e-3)


@pytest.mark.parametrize(("freedom", "quantile"), [(1, 1.8373), (2, 1.3213), (5, 1.1103), (20, 1.0254), (200, 1.0025)])
def test_a_standard_error_is_widened_as_students_t_asks(freedom: int, quantile: float) -> None:
    """The 84.134th percentile of Student's t (scipy.stats.t.ppf), which is 1 of a normal variable."""
    assert student(8.0 * freedom) == pytest.approx(quantile, abs=0.03 if freedom == 1 else 2e-3)


@pytest.mark.parametrize(("freedom", "quantile"), [(15, 2.1812), (31, 2.0870), (255, 2.0098)])
def test_the_error_of_many_chains_covers_at_two_as_students_t_asks(freedom: int, quantile: float) -> None:
    """The 97.725th percentile of Student's t (scipy.stats.t.ppf), which is 2 of a normal variable."""
    assert widened_at_two(freedom) == pytest.approx(quantile / 2, abs=2e-3)


def test_the_error_of_many_chains_is_how_far_their_means_differ() -> None:
    draws = autoregressive(MANY_CHAINS, 50, 0.9, seed=1)
    many, few = summarise(draws.tolist()), summarise(draws[:-1].tolist())
    means = draws.mean(axis=1)
    assert many.mcse == pytest.approx(means.std(ddof=1) / MANY_CHAINS**0.5)
    assert many.stderr == many.mcse * widened_at_two(MANY_CHAINS - 1)
    assert few.stderr == few.mcse * student(few.ess)


def test_many_short_chains_that_do_not_mix_are_told_from_those_that_do() -> None:
    forgetting = autoregressive(MANY_CHAINS, 50, 0.3, seed=2)
    staying = forgetting + numpy.linspace(-3, 3, MANY_CHAINS)[:, None]
    moved = [summarise(draws.tolist()).moved for draws in (forgetting, staying)]
    assert moved[0] is not None
    assert moved[1] is not None
    # The ratio of two variances of fifteen degrees of freedom or so.
    assert 0.4 < moved[0] < 2.5
    assert moved[1] < 0.05
    assert summarise([[1.0, 2.0, 3.0, 4.0]] * 2).moved is None


def test_without_an_effective_sample_size_the_error_is_that_of_one_degree_of_freedom() -> None:
    assert student(math.nan) == student(0.0) == student(8.0)
    assert student(7.0) > student(9.0) > student(1e9)


@pytest.mark.parametrize(("chains", "draws", "correlation"), [(2, 20, 0.5), (2, 100, 0.9), (4, 50, 0.8), (4, 100, 0.9)])
def test_the_widened_error_of_few_draws_covers_as_it_says(chains: int, draws: int, correlation: float) -> None:
    """Some 25 to 50 effective draws; shares within one and two errors of 300 runs are known to 2.7 and 1.3 %."""
    apart = []
    for seed in range(300):
        one = summarise(autoregressive(chains, draws, correlation, seed).tolist())
        apart.append(abs(one.mean - 3) / one.stderr)
    assert 0.65 < numpy.mean(numpy.array(apart) <= 1) < 0.85
    assert numpy.mean(numpy.array(apart) <= 2) > 0.91


def test_a_trend_shows_as_drift() -> None:
    draws = autoregressive(4, 200, 0.0, seed=0)
    still, rising = summarise(draws.tolist()), summarise((draws + numpy.linspace(0, 2, 200)).tolist())
    assert still.drift is not None
    assert rising.drift is not None
    assert abs(still.drift) < 4
    assert rising.drift > 8


def test_equal_draws_have_no_error_and_no_r_hat() -> None:
    summary = summarise([[2.0] * 10, [2.0] * 10])
    assert (summary.mean, summary.mcse, summary.stderr, summary.r_hat, summary.drift) == (2.0, 0.0, 0.0, None, None)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_nonfinite_draw_is_refused(bad: float) -> None:
    with pytest.raises(ValueError, match="finite"):
        summarise([[1.0, 2.0, bad, 4.0], [1.0, 2.0, 3.0, 4.0]])


@pytest.mark.parametrize("draws", [2, 3, 4, 5])
def test_of_few_draws_there_is_no_more_said_than_can_be(draws: int, capfd: pytest.CaptureFixture[str]) -> None:
    summary = summarise(autoregressive(2, draws, 0.0, seed=1).tolist())
    assert (summary.r_hat is None, math.isnan(summary.ess)) == (draws < FEWEST, draws < FEWEST)
    assert math.isfinite(summary.mcse)
    assert capfd.readouterr() == ("", "")


def squared(chains: int, draws: int, correlation: float, dimension: int, seed: int) -> numpy.ndarray:
    """Sums of squares of AR(1) processes: the squared distance of a chain in one basin."""
    return sum((autoregressive(chains, draws, correlation, 100 * seed + each) - 3) ** 2 for each in range(dimension))  # type: ignore[return-value]


@pytest.mark.parametrize("dimension", [1, 3, 20])
@pytest.mark.parametrize("correlation", [0.5, 0.9, 0.97, 0.99])
def test_a_chain_in_one_basin_lies_at_one_level_however_slow_it_is(dimension: int, correlation: float) -> None:
    results = [two_levels(squared(4, 200, correlation, dimension, seed).tolist()) for seed in range(25)]
    # At a correlation of 0.99 there are some four effective draws in all, and chains may well lie apart.
    assert sum(each is not None for each in results) <= (3 if correlation == 0.99 else 0)


@pytest.mark.parametrize("hops", [[40], [10, 150], [199]])
def test_chains_that_hop_to_another_basin_lie_at_two_levels(hops: list[int]) -> None:
    values = squared(4, 200, 0.8, 10, seed=1)
    for chain in (1, 2):
        for number, hop in enumerate(hops):
            values[chain, hop:] += 60.0 * (-1) ** number
    levels = two_levels(values.tolist())
    if hops == [199]:
        assert levels is None
        return
    assert levels is not None
    assert levels.changes == pytest.approx(2 * len(hops), abs=2)
    assert levels.upper > 2 * levels.lower


@pytest.mark.parametrize("scale", [1e-300, 1e-9, 1e9, 1e300])
def test_levels_do_not_depend_on_the_unit(scale: float) -> None:
    values = squared(4, 200, 0.8, 10, seed=1)
    values[1, 40:] += 60.0
    plain, scaled = two_levels(values.tolist()), two_levels((scale * values).tolist())
    assert plain is not None
    assert scaled is not None
    assert scaled.changes == plain.changes
    assert scaled.upper == pytest.approx(scale * plain.upper)


def test_levels_that_are_changed_often_are_one() -> None:
    stream = numpy.random.default_rng(0)
    values = squared(4, 200, 0.5, 10, seed=1) + 25.0 * stream.integers(0, 2, size=(4, 200))
    assert two_levels(values.tolist()) is None


@pytest.mark.parametrize("values", [[[1.0] * 10] * 2, [[0.0] * 10] * 2, [[1.0, math.nan, 2.0, 9.0]] * 2, [[1.0]]])
def test_equal_missing_or_few_values_have_no_two_levels(values: list[list[float]]) -> None:
    assert two_levels(values) is None


def test_of_one_short_chain_a_ratio_has_an_error_that_it_keeps() -> None:
    """Two means of 30 draws whose difference has the autocorrelation time 5.7, compared with how far they are off."""
    ratios = []
    for seed in range(300):
        common, apart = autoregressive(2, 30, 0.7, seed) - 3
        result = log_ratio([(1 + 0.1 * common + 0.05 * apart).tolist()], [(1 + 0.1 * common).tolist()])
        assert result is not None
        ratios.append(result[0] / result[1])
    assert 0.8 < numpy.sqrt(numpy.mean(numpy.square(ratios))) < 1.15
    assert numpy.mean(numpy.abs(ratios) < 2) > 0.9
