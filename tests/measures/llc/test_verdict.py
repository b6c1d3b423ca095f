"""Every verdict, from diagnostics that call for it and from those just short of that."""

import math
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest

from hf_llc.errors import DivergedError
from hf_llc.measures.llc.verdict import EXCESS_MAX, judge, require_number
from hf_llc.results.estimate import ChainSummary, DatasetRecord, Diagnostics, Estimate, Status, Verdict
from hf_llc.results.interpretation import agreement, interpret, on_plateau
from hf_llc.sampling.tuning.step_size import LEFT, SETTLED, excess_left
from tests.helpers.chains import settings
from tests.helpers.estimates import estimate

SETTINGS = settings(chains=4)
NUMBERS: dict[str, Any] = {
    "r_hat": 1.01, "ess": 300.0, "delta_loss": 0.5, "distance": 1.0, "free_distance": 1.0, "dimension": 1000,
    "curvature": 3.0, "stability": 0.2, "resolution": 5.0, "equilibration": 0.99, "drift": 0.5,
    "monte_carlo_stderr": 0.1,
}  # fmt: skip
UNCHECKED: dict[str, Any] = {field.name: None for field in fields(Diagnostics) if field.name not in NUMBERS}
CHECKED = UNCHECKED | {"step_size_stderr": 0.1, "step_bias": 0.0, "step_bias_stderr": 0.1, "cold_llc": 0.0}
GOOD = Diagnostics(**NUMBERS, **CHECKED)
SPREAD: dict[str, Any] = {
    "equilibration": 0.1, "gamma_slope": 0.0, "gamma_slope_stderr": 0.01, "distance_drift": 0.02,
    "distance_drift_stderr": 0.01, "distance_drift_free": 0.2,
}  # fmt: skip
"""On a plateau, from w*, and spreading no more."""


JUMPING: dict[str, Any] = {
    "jump_llc": 3.0, "jump_llc_stderr": 0.1, "jump_spread": 1.0, "jump_shift": 2.0, "jump_shift_stderr": 0.5,
}  # fmt: skip

CASES: list[tuple[dict[str, Any], float, Verdict, str]] = [
    ({}, 10.0, Verdict.CONVERGED, "R-hat 1.010, effective sample size 300"),
    (UNCHECKED, 10.0, Verdict.CONVERGED, "the step size was not checked"),
    ({"r_hat": 1.11}, 10.0, Verdict.NOT_EQUILIBRATED, "R-hat is 1.110, above 1.1: raise `draws`"),
    ({"r_hat": 1.11, "r_hat_chance": 1.3, "ess": 55.0}, 10.0, Verdict.NOT_EQUILIBRATED, "R-hat is 1.110, above 1.1"),
    ({"r_hat": 1.099, "r_hat_chance": 1.01}, 10.0, Verdict.CONVERGED, "R-hat 1.099"),
    ({"r_hat": math.nan}, 10.0, Verdict.NOT_EQUILIBRATED, "R-hat is nan"),
    ({"r_hat": None, "ess": None, "drift": None}, 10.0, Verdict.UNDERSAMPLED, "effective sample size is unknown"),
    ({"ess": 49.0}, 10.0, Verdict.UNDERSAMPLED, "sample size is 49, where 50 is needed: raise `draws`"),
    ({"ess": 50.0}, 10.0, Verdict.CONVERGED, "effective sample size 50"),
    ({"drift": -5.0}, 10.0, Verdict.NOT_EQUILIBRATED, "second half lies -5.0 Monte Carlo errors"),
    ({"drift": -3.9}, 10.0, Verdict.CONVERGED, "R-hat"),
    (
        {"level_near": 0.9, "level_far": 2.1, "level_changes": 4},
        10.0,
        Verdict.NOT_EQUILIBRATED,
        "chains stay at two distances from w*, 0.9 and 2.1, and change between them 4 times in all: they seem to be",
    ),
    ({"equilibration": 0.5}, 10.0, Verdict.NOT_EQUILIBRATED, "50% of its variance"),
    (SPREAD, 10.0, Verdict.CONVERGED, "R-hat"),
    (SPREAD | {"distance_drift": 0.04}, 10.0, Verdict.NOT_EQUILIBRATED, "grows by +4.0% ± 1.0% over the draws"),
    (SPREAD | {"distance_drift_stderr": 0.02}, 10.0, Verdict.NOT_EQUILIBRATED, "where free diffusion would give 20.0%"),
    (SPREAD | {"distance_drift_free": 0.1}, 10.0, Verdict.NOT_EQUILIBRATED, "10% of its variance"),
    (SPREAD | {"gamma_slope": 0.3}, 10.0, Verdict.NOT_EQUILIBRATED, "10% of its variance"),
    ({"equilibration": 0.1, "start_gap": 0.5, "start_gap_stderr": 0.2}, 10.0, Verdict.CONVERGED, "R-hat"),
    ({"start_gap": 2.0, "start_gap_stderr": 0.2}, 10.0, Verdict.NOT_EQUILIBRATED, "+2 ± 0.2 apart in λ̂"),
    ({"start_gap": 0.0, "start_gap_stderr": 1.1}, 10.0, Verdict.NOT_EQUILIBRATED, "is known only to ± 1.1"),
    ({"step_bias": 2.0, "step_bias_stderr": 0.6}, 10.0, Verdict.STEP_TOO_LARGE, "lower `lr`"),
    (
        {"step_bias": 2.0, "step_bias_stderr": 0.6, "raw_llc": 10.4},
        10.0,
        Verdict.STEP_TOO_LARGE,
        "+19% of the mean of the chains",
    ),
    ({"step_bias": 0.9, "step_bias_stderr": 0.1}, 10.0, Verdict.CONVERGED, "step-size bias +0.9 ± 0.1"),
    ({"step_bias": 2.0, "step_bias_stderr": 0.8}, 10.0, Verdict.CONVERGED, "step-size bias +2 ± 0.8"),
    ({"step_bias": 0.1, "step_bias_stderr": 1.1}, 10.0, Verdict.IMPRECISE, "known only to ± 1.1: raise `draws`"),
    ({"step_bias": 2.0, "step_bias_stderr": 0.6, "cold_llc": 2.0}, 10.0, Verdict.HEATED, "raise `batch_size`"),
    ({"step_bias": None}, 10.0, Verdict.STEP_TOO_LARGE, "half the step size became inf or NaN: lower `lr`"),
    ({"cold_llc": 2.0}, 10.0, Verdict.HEATED, "gradient noise alone gives 2 of"),
    ({"cold_llc": 0.9}, 10.0, Verdict.CONVERGED, "R-hat"),
    ({"cold_llc": -2.0}, 10.0, Verdict.NOT_A_MINIMUM, "chains without noise reach a loss below that at w*, by 2"),
    ({}, -1.0, Verdict.NOT_A_MINIMUM, "the loss falls away from w*"),
    ({}, -0.2, Verdict.IMPRECISE, "λ̂ is 0 within its error, between -0.4 and 0 at two standard errors"),
    ({}, 0.15, Verdict.IMPRECISE, "λ̂ is 0 within its error, between -0.05 and 0.35 at two"),
    (UNCHECKED, 0.33, Verdict.IMPRECISE, "the standard error is 30% of λ̂, where 30% is needed"),
    (UNCHECKED, 0.34, Verdict.CONVERGED, "R-hat"),
    ({"step_bias_stderr": math.nan}, 10.0, Verdict.IMPRECISE, "the step-size bias of λ̂ is known only to ± nan"),
    (UNCHECKED, 2e5, Verdict.UNDERSAMPLED, "all draws are equal up to rounding"),
    (JUMPING, 10.0, Verdict.JUMPS, "they contribute +3 ± 0.1 to λ̂, which is off by about +2 ± 0.5"),
    ({"delta_loss": 50.0, "prior_llc": 10.0}, 10.0, Verdict.STEP_TOO_LARGE, "the chains diverge: nβΔL is 5e+03"),
    ({"outliers": 2, "outlier_llc": 1.0, "outlier_rest_stderr": 0.1}, 10.0, Verdict.NOT_EQUILIBRATED, "2 draws lie"),
]


@pytest.mark.parametrize(("chains", "failed", "message"), [(2, 0, "2 chains"), (4, 1, "3 chains"), (3, 0, "3 chains")])
def test_fewer_than_four_chains_show_too_little_of_how_they_differ(chains: int, failed: int, message: str) -> None:
    verdict, reason = judge(10.0, 0.1, replace(SETTINGS, chains=chains), GOOD, failed=failed)
    assert verdict is (Verdict.STEP_TOO_LARGE if failed else Verdict.UNDERSAMPLED)
    assert f"{message}, where 4 are needed: raise `chains`" in reason


@pytest.mark.parametrize("error", [math.nan, math.inf])
def test_an_error_that_is_no_number_is_not_called_converged(error: float) -> None:
    assert judge(40.5, error, SETTINGS, GOOD, failed=0)[0] is Verdict.IMPRECISE


def test_a_failed_main_chain_does_not_count_as_a_failed_half_step_chain() -> None:
    _, reason = judge(10.0, 0.1, SETTINGS, replace(GOOD, step_bias=None, step_bias_stderr=None), failed=1)
    assert "half the step size" not in reason


def test_an_error_of_nothing_is_not_called_converged() -> None:
    for error in (0.0, 1e-6):
        verdict, reason = judge(40.5, error, SETTINGS, GOOD, failed=0)
        assert verdict is Verdict.UNDERSAMPLED
        assert "the loss is constant where the chains are" in reason
    assert judge(0.0, 0.0, SETTINGS, GOOD, failed=0)[0] is Verdict.UNDERSAMPLED


@pytest.mark.parametrize(("changes", "llc", "verdict", "message"), CASES)
def test_the_verdict_and_its_reason(changes: dict[str, Any], llc: float, verdict: Verdict, message: str) -> None:
    results, reason = judge(llc, 0.1, SETTINGS, replace(GOOD, **changes), failed=0)
    assert results is verdict
    assert message in reason


@pytest.mark.parametrize(
    ("chains", "moved", "verdict", "message"),
    [
        (16, 0.26, Verdict.CONVERGED, "R-hat 1.300 of many short chains, which mix: one moves by 26% of"),
        (16, 0.24, Verdict.NOT_EQUILIBRATED, "chains do not mix: R-hat is 1.300"),
        (16, None, Verdict.NOT_EQUILIBRATED, "R-hat is 1.300, above 1.1"),
        (15, 1.0, Verdict.NOT_EQUILIBRATED, "R-hat is 1.300, above 1.1"),
    ],
)
def test_many_short_chains_may_differ_if_they_do_not_stay_apart(
    chains: int, moved: float | None, verdict: Verdict, message: str
) -> None:
    results, reason = judge(
        10.0, 0.1, replace(SETTINGS, chains=chains), replace(GOOD, r_hat=1.3, moved=moved), failed=0
    )
    assert results is verdict
    assert message in reason


def test_constant_distance_of_chains_from_the_prior_is_no_sign_of_equilibrium() -> None:
    spread = replace(GOOD, **SPREAD)
    verdict, reason = judge(10.0, 0.1, replace(SETTINGS, start="laplace"), spread, failed=0)
    assert verdict is Verdict.NOT_EQUILIBRATED
    assert "10% of its variance" in reason
    assert judge(10.0, 0.1, replace(SETTINGS, start="laplace"), GOOD, failed=0)[0] is Verdict.CONVERGED


def test_chains_from_a_high_start_are_judged_by_their_relaxation() -> None:
    local = replace(SETTINGS, start="localiser", gamma=10.0, lr=1e-3, burn_in=200)
    verdict, reason = judge(10.0, 0.1, local, replace(GOOD, equilibration=0.86), failed=0)
    assert verdict is Verdict.NOT_EQUILIBRATED
    assert "had relaxed by 86% from their start in the localizing prior (90% is needed)" in reason
    # That λ̂ is flat and that nothing spreads says no more, since they began at their full width.
    verdict, _ = judge(10.0, 0.1, local, replace(GOOD, **SPREAD), failed=0)
    assert verdict is Verdict.NOT_EQUILIBRATED


def test_chains_that_came_down_alike_but_not_far_enough_are_not_called_converged() -> None:
    """A flat direction forgets at 0.01 a step; the stiffest is k = 30 times as stiff as the localizing prior."""
    short = replace(SETTINGS, start="localiser", gamma=10.0, lr=1e-3, burn_in=20)
    verdict, reason = judge(10.0, 0.1, short, GOOD, failed=0)
    assert verdict is Verdict.NOT_EQUILIBRATED
    assert "had 0.2 relaxation times before their draws (1.3 are needed)" in reason
    for enough in (replace(short, burn_in=130), replace(short, n_beta=0.3), replace(short, burn_in_lr=5e-2)):
        assert judge(10.0, 0.1, enough, GOOD, failed=0)[0] is Verdict.CONVERGED


@pytest.mark.parametrize("times", [0.05, LEFT, SETTLED, 3.0])
@pytest.mark.parametrize("stiffest", [0.2, 5.0, 1000.0])
def test_the_worst_excess_is_that_of_the_worst_direction(times: float, stiffest: float) -> None:
    grid = [stiffest * 10 ** (-index / 2000) for index in range(10_001)]
    assert excess_left(times, stiffest) == pytest.approx(max(k * math.exp(-(1 + k) * times) for k in grid), rel=1e-3)


def test_the_limits_on_relaxation_times_are_those_of_the_excess() -> None:
    assert excess_left(LEFT, math.inf) == pytest.approx(1, rel=0.02)
    assert excess_left(SETTLED, math.inf) < EXCESS_MAX
    assert excess_left(0.0, 7.0) == 7.0


def test_every_verdict_is_among_the_cases() -> None:
    assert {verdict for _, _, verdict, _ in CASES} | {Verdict.DIVERGED, Verdict.NOT_LOCAL} == set(Verdict)


def test_the_documentation_says_of_every_verdict_what_it_means_and_what_to_do() -> None:
    page = (Path(__file__).parents[3] / "docs/concepts/verdicts.md").read_text(encoding="utf-8")
    text = page.split("<!-- verdicts: begin -->")[1].split("<!-- verdicts: end -->")[0]
    rows = {line.split("`")[1]: line for line in text.splitlines() if line.startswith("| `")}
    assert set(rows) == set(map(str, Verdict))
    cells = {name: [cell.strip() for cell in line.strip(" |").split(" | ")] for name, line in rows.items()}
    assert all(len(of) == 4 and all(of) for name, of in cells.items() if name != "converged")


def test_everything_that_is_wrong_is_named_and_the_worst_decides() -> None:
    bad = replace(GOOD, r_hat=1.2, drift=9.0, cold_llc=-5.0)
    verdict, reason = judge(10.0, 0.1, SETTINGS, bad, failed=1)
    assert verdict is Verdict.STEP_TOO_LARGE
    parts = reason.split("; ")
    assert parts[0] == "1 of 4 chains became inf or NaN and were left out"
    assert [word in reason for word in ("not a minimum", "R-hat is 1.200", "+9.0 Monte Carlo")] == [True, True, True]


def test_without_two_healthy_chains_there_is_no_number() -> None:
    verdict, reason = judge(None, None, SETTINGS, GOOD, failed=3)
    assert verdict is Verdict.DIVERGED
    assert reason == "3 of 4 chains became inf or NaN, so there is no number"


@pytest.mark.parametrize(
    ("slope", "error", "message"),
    [
        (0.05, 0.02, "on a plateau"),
        (-0.05, 0.1, "whether it depends on the localizing prior is not known"),
        (-0.3, 0.14, "it depends on the localizing prior"),
        (-0.95, 0.02, "the localizing prior sets its size"),
        (-0.5, 0.02, "it depends on the localizing prior"),
        (None, None, "was not measured"),
    ],
)
def test_what_the_number_means_follows_from_its_slope_in_gamma(
    slope: float | None, error: float | None, message: str
) -> None:
    sentence = interpret(replace(GOOD, gamma_slope=slope, gamma_slope_stderr=error))
    assert message in sentence
    assert ("not a learning coefficient" in sentence) == (
        message == "it depends on the localizing prior" or "sets" in message
    )


@pytest.mark.parametrize(
    ("slope", "error", "message"),
    [
        (
            0.05,
            0.02,
            "on a plateau (d log λ̂ / d log γ = +0.02 ± 0.01): it hardly depends on the localizing prior or on nβ",
        ),
        (None, None, "its dependence on nβ was not measured; it describes this basin"),
        (1.0, 0.0, "d log nβ = +1.00 ± 0.00): the loss is practically constant around w*"),
        (0.5, 0.02, "but on nβ (d log λ̂ / d log nβ = +0.50 ± 0.02)"),
        (0.05, 0.2, "whether it depends on nβ is not known (d log λ̂ / d log nβ = +0.05 ± 0.20): raise `draws`"),
        (0.45, 0.2, "but on nβ (d log λ̂ / d log nβ = +0.45 ± 0.20)"),
    ],
)
def test_a_plateau_is_one_in_the_temperature_too(slope: float | None, error: float | None, message: str) -> None:
    flat = replace(GOOD, gamma_slope=0.02, gamma_slope_stderr=0.01, n_beta_slope=slope, n_beta_slope_stderr=error)
    assert message in interpret(flat)
    assert ("on a plateau" in interpret(flat)) == (error in {0.02, None} and slope != 0.5)
    assert ("this basin" in interpret(flat)) == ((error in {0.02, None} and slope != 0.5) or "not known" in message)
    assert on_plateau(flat) == (error in {0.02, None} and slope != 0.5)


def test_a_diverged_estimate_is_raised_with_the_chains_that_failed() -> None:
    chains = (
        ChainSummary(chain=0, llc=1.5, status=Status.HEALTHY),
        ChainSummary(chain=1, llc=None, status=Status.NONFINITE, failed_at=32),
    )
    text = DatasetRecord(id="d", revision="r", config=None, split="train", text_column="text", fingerprint="f")
    result = Estimate(
        model="m", revision=None, sha="s", step=None, llc=None, stderr=None, verdict=Verdict.DIVERGED,
        verdict_reason="", settings=SETTINGS, diagnostics=GOOD, dataset=text, chains=chains, init_loss=1.0, tokens=1,
        versions={}, seconds={}, run_dir="r",
    )  # fmt: skip
    with pytest.raises(DivergedError, match=r"of 2 chains stayed finite \(chain 1 at step 32 became.*Lower `lr` \(now"):
        require_number(result)
    require_number(replace(result, verdict=Verdict.CONVERGED))


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ({"llc": 13.5, "stderr": 1.0}, "they agree"),
        ({"llc": 30.0, "stderr": 1.0}, "they disagree"),
        ({"llc": None, "stderr": None}, "no number on 64 of"),
        ({"llc": 13.5, "stderr": 1.0, "method": "draws"}, "from 38 pairs of independent draws, on 64 of"),
        ({"llc": 30.0, "stderr": 1.0, "method": "draws"}, "too far from the localizing prior"),
        ({"llc": None, "stderr": None, "method": "draws"}, "the loss does not rise, but changes by -2.5"),
    ],
)
def test_a_cross_check_is_put_into_words(other: dict[str, Any], message: str) -> None:
    record = {"method": "lanczos", "lowest": -3.0, "highest": 9.0, "sequences": 64, "pairs": 38, "prior_mean": -2.5}
    record |= other
    assert message in agreement(estimate(cross_check=record))
    assert agreement(estimate()) == ""
