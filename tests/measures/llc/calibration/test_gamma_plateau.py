"""What counts in the search for a plateau, and what is answered where some of it does not: on made-up chains."""

import math
from dataclasses import replace
from typing import Any

import numpy
import pytest

from hf_llc.measures.llc.calibration.gamma_plateau import find_gamma_plateau, is_local, points_of
from hf_llc.measures.llc.calibration.pilot_chains import PilotChain, Swept
from hf_llc.measures.llc.resolution import ResolvedRun
from hf_llc.measures.llc.summarise import judged
from hf_llc.results.calibration import Finding, SweepPoint
from hf_llc.results.estimate import ChainTrace, Status
from hf_llc.sampling.tuning.lanczos import Nodes
from hf_llc.sampling.tuning.step_size import relaxation_rate
from tests.helpers.chains import settings
from tests.helpers.sweep_points import point

NODES = Nodes(values=[[1.0]] * 4, weights=[[1.0]] * 4, dimension=20)
BURN_IN, DRAWS = 20, 100


def chain(
    number: int, level: float, *, trend: float = 0.0, apart: float = 0.0, spread: float = 0.0, noise: float = 0.0
) -> ChainTrace:
    """Independent draws around a level, with a standard deviation of a tenth of it.

    Args:
        trend: of the level over the draws, spread: of ‖w−w*‖² over them, apart: between chains, each as a share.
        noise: the variance of a draw that the choice of its items makes.
    """
    stream = numpy.random.default_rng(number)
    steps = BURN_IN + DRAWS + 1
    rising = 1 + trend * numpy.arange(steps) / steps + apart * number
    deltas = level * (rising + 0.1 * stream.standard_normal(steps))
    squared = 1 + spread * numpy.arange(DRAWS) / DRAWS
    return ChainTrace(
        chain=number,
        status=Status.HEALTHY,
        failed_at=None,
        losses=tuple(deltas),
        deltas=tuple(deltas),
        squared_distances=tuple(squared),
        seconds=0.0,
        noise=(noise,) * DRAWS,
    )


def swept(gamma: float = 10.0, level: float = 0.05, *, needed: int = 0, heating: float = 0.0, **more: Any) -> Swept:
    """Two chains at nβ = 100 that count, unless something is changed."""
    start, typical = more.pop("start", "localiser"), more.pop("typical", 0.0)
    chosen = settings(gamma=gamma, chains=2, burn_in=BURN_IN, draws=DRAWS, start=start)
    at = ResolvedRun(
        settings=chosen,
        choices={},
        curvature=1.0,
        trace_hessian=1.0,
        dimension=20,
        load_seconds=0.0,
        seconds=0.0,
        heating=heating,
        typical=typical,
    )
    return Swept(at, needed, [chain(number, level, **more) for number in range(2)])


def excluded(**changes: Any) -> tuple[str | None, bool]:
    (point,) = points_of([swept(**changes)], NODES)
    return point.excluded, point.open


@pytest.mark.parametrize(
    ("start", "typical", "forgotten"), [("localiser", 0.25, 1.0), ("localiser", 0.35, None), ("anchor", 0.25, None)]
)
def test_chains_start_settled_unless_they_start_far_above(start: str, typical: float, forgotten: float | None) -> None:
    """γ = 10 at nβ = 100, so that the typical direction is 2.5 or 3.5 times as stiff as the localizing prior."""
    at = swept(start=start)
    rate = relaxation_rate(at.settings.lr, 10.0, at.settings.sampler, at.settings.momentum)
    judgement = judged(replace(at.resolution, typical=typical), at.traces, {})
    assert judgement.diagnostics.equilibration == pytest.approx(forgotten or 1 - math.exp(-rate * BURN_IN))


def test_settled_local_chains_count() -> None:
    assert excluded() == (None, False)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"level": 0.6}, "not local: the loss is 0.6 nats above that at w*"),
        ({"level": -0.05}, "λ̂ is not above 0"),
    ],
)
def test_what_is_no_number_of_the_neighbourhood_does_not_count(changes: dict[str, Any], message: str) -> None:
    assert excluded(**changes) == (message, False)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"needed": BURN_IN + 1}, "a burn-in of 21 steps would be needed"),
        ({"needed": 2 * BURN_IN + 1, "typical": 0.35}, "a burn-in of 41 steps would be needed"),
        ({"needed": 2 * BURN_IN + 1, "start": "anchor", "spread": 1.0}, "a burn-in of 41 steps would be needed"),
        ({"trend": 0.25}, "the draws drift by"),
        ({"apart": 1.0}, "the chains disagree (R-hat"),
        ({"heating": 1.1}, "gradient noise is predicted to make 20% of λ̂"),
    ],
)
def test_what_may_be_wrong_does_not_count_but_leaves_it_open(changes: dict[str, Any], message: str) -> None:
    results, is_open = excluded(**changes)
    assert results is not None
    assert message in results
    assert is_open


@pytest.mark.parametrize(
    "changes",
    [
        {"needed": 2 * BURN_IN, "start": "anchor", "spread": 1.0},
        {"needed": 2 * BURN_IN, "typical": 0.35},
        {"needed": 9 * BURN_IN, "start": "anchor", "spread": 0.0},
        {"heating": 0.5},
    ],
)
def test_what_is_settled_in_another_way_counts(changes: dict[str, Any]) -> None:
    assert excluded(**changes) == (None, False)


def test_the_prior_damps_the_heating_of_flat_directions() -> None:
    # At γ = nβh half of the predicted heating is left.
    assert excluded(gamma=100.0, heating=0.9) == (None, False)
    assert excluded(gamma=1.0, heating=0.9)[0] is not None


def test_chains_are_local_as_long_as_the_loss_is() -> None:
    assert is_local(swept(level=0.4))
    assert not is_local(swept(level=0.6))


def test_a_dead_chain_is_not_local_and_no_number() -> None:
    result = swept()
    dead = replace(result, traces=[replace(trace, status=Status.NONFINITE) for trace in result.traces])
    assert not is_local(dead)
    assert points_of([dead], NODES)[0].excluded == "chains became inf or NaN"


def test_slopes_go_from_one_point_that_counts_to_the_next() -> None:
    levels = {1.0: 0.06, 10.0: 0.05, 100.0: 0.04}
    results = [swept(gamma, level) for gamma, level in levels.items()]
    results[1] = swept(10.0, 0.05, apart=1.0)
    first, second, last = points_of(results, NODES)
    assert first.slope == pytest.approx(numpy.log(0.04 / 0.06) / numpy.log(100), rel=1e-6)
    # The same noise in both: the ratio has no error.
    assert first.slope_stderr == pytest.approx(0.0, abs=1e-12)
    assert (second.slope, last.slope) == (None, None)


def points(slopes: list[float], error: float = 0.01) -> list[SweepPoint]:
    """Points a factor of √10 apart with these slopes between them."""
    llc, results = 100.0, []
    for index in range(len(slopes) + 1):
        resolution = 10 ** (index / 2)
        slope, unknown = (slopes[index], error) if index < len(slopes) else (None, None)
        results.append(point(resolution, llc, stderr=0.1, slope=slope, slope_stderr=unknown))
        llc *= 10 ** (slopes[index] / 2) if index < len(slopes) else 1.0
    return results


def test_the_plateau_is_named_and_its_place_chosen_unless_gamma_was_asked_for() -> None:
    result = points([0.0, 0.0, 0.0, -0.9, -0.9])
    answer = find_gamma_plateau(result, 4, free=True)
    assert (answer.finding, answer.chosen) == (Finding.FOUND, 2)
    assert answer.flat is not None
    assert (answer.flat.low, answer.flat.high) == pytest.approx((1.0, 10**1.5))
    assert find_gamma_plateau(result, 4, free=False).chosen == 4


def test_flat_in_gamma_where_the_loss_is_constant_is_no_plateau() -> None:
    """λ̂ = nβ times the depth of a hole that chains have left is the same at every γ."""
    results = [
        replace(each, n_beta_slope=slope)
        for each, slope in zip(points([0.0] * 4), (1.0, 1.0, 0.9, 0.8, 0.7), strict=True)
    ]
    answer = find_gamma_plateau(results, 2, free=True)
    assert (answer.finding, answer.flat, answer.chosen) == (Finding.NONE, None, 2)
    assert "hardly depends on γ, but on nβ (d log λ̂ / d log nβ = +0.88 by the variance" in answer.reason
    noisy = [replace(each, n_beta_slope=slope) for each, slope in zip(results, (0.4, -0.5, 0.3, 0.9, 0.1), strict=True)]
    assert find_gamma_plateau(noisy, 2, free=True).finding is Finding.FOUND


def test_the_slope_in_n_beta_follows_from_the_variance_of_the_draws() -> None:
    """Draws around 5 in λ̂ with a standard deviation of a tenth: 1 − 0.25 / 5, and 1 where their items make it all."""
    (results,) = points_of([swept()], NODES)
    assert results.n_beta_slope == pytest.approx(0.95, abs=0.01)
    (noisy,) = points_of([swept(noise=0.005**2)], NODES)
    assert noisy.n_beta_slope == pytest.approx(1.0, abs=0.01)


def test_steep_everywhere_is_no_plateau_and_stays_in_the_middle() -> None:
    answer = find_gamma_plateau(points([-0.9, -1.0, -1.0, -0.8]), 1, free=True)
    assert (answer.finding, answer.flat, answer.chosen) == (Finding.NONE, None, 1)
    assert "ranges from -1.00 ± 0.01 to -0.80 ± 0.01" in answer.reason


def test_a_middle_that_does_not_count_gives_way_to_the_next_stronger_gamma() -> None:
    result = points([-0.9, -1.0, -1.0, -0.8])
    result[1] = replace(result[1], excluded="not local")
    assert find_gamma_plateau(result, 1, free=True).chosen == 2
    assert find_gamma_plateau(result, 1, free=False).chosen == 1


def test_steep_beside_a_point_in_doubt_is_undecided() -> None:
    result = points([-0.9, -1.0, -1.0, -0.8])
    result[0] = replace(result[0], excluded="not equilibrated: a burn-in of 999 steps would be needed", open=True)
    answer = find_gamma_plateau(result, 1, free=True)
    assert answer.finding is Finding.UNDECIDED
    assert "; γ/nβ = 1 is uncertain (not equilibrated: a burn-in of 999 steps would be needed). Raise" in answer.reason
    two = find_gamma_plateau([result[0], replace(result[1], excluded="noise", open=True), *result[2:]], 1, free=True)
    assert "; γ/nβ = 1 and 3.16 are uncertain (at 3.16: noise). Raise" in two.reason
    closed = [replace(result[0], open=False), *result[1:]]
    assert find_gamma_plateau(closed, 1, free=True).finding is Finding.NONE


def test_slopes_too_noisy_to_tell_are_undecided() -> None:
    answer = find_gamma_plateau(points([-0.1, -0.2, -0.9], error=0.3), 1, free=True)
    assert answer.finding is Finding.UNDECIDED
    assert "is closest to 0 with -0.10 ± 0.30, where ±0.2 would count as flat" in answer.reason


def test_nothing_that_counts_is_no_plateau_with_the_reason() -> None:
    results = [replace(point, excluded="λ̂ is not above 0") for point in points([-1.0, -1.0])]
    answer = find_gamma_plateau(results, 1, free=True)
    assert (answer.finding, answer.chosen) == (Finding.NONE, 1)
    assert "λ̂ is valid at 0 of the 3 values of γ tried (at others: λ̂ is not above 0)" in answer.reason


def test_chains_that_differ_in_anything_are_different_parts() -> None:
    plain = settings()
    others = [replace(plain, lr=2e-3), replace(plain, burn_in=101), replace(plain, gamma=11.0)]
    names = [PilotChain(each, 0).name for each in [plain, *others]] + [PilotChain(plain, 1).name]
    assert len(set(names)) == len(names)
    assert PilotChain(replace(plain), 0).name == names[0]
