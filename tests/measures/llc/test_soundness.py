"""Draws that cannot be the posterior's: jumps of the loss, draws far from all others, chains that ran away."""

import math
import statistics
from dataclasses import replace
from typing import Any

import pytest
import torch

from hf_llc.measures.llc.resolution import ResolvedRun
from hf_llc.measures.llc.soundness import FEWEST, Sampled, jumps_of, set_apart, with_one_baseline
from hf_llc.measures.llc.summarise import judged
from hf_llc.measures.llc.validation.cases import Case
from hf_llc.measures.llc.validation.exact import quadratic_llc
from hf_llc.measures.llc.validation.problems import FunctionObjective, linear_regression, quadratic
from hf_llc.measures.llc.validation.validate import ValidationSettings, validate
from hf_llc.measures.llc.verdict import judge
from hf_llc.results.estimate import OUTLYING, ChainTrace, Status, Verdict
from hf_llc.sampling.chain import run_chain
from hf_llc.sampling.gradients import full_gradient, gradient_of
from hf_llc.sampling.objective import copy_of
from hf_llc.sampling.tuning.choose_baseline import choose_baseline
from hf_llc.sampling.tuning.measure import measure_geometry
from hf_llc.sampling.tuning.measurements import LocalGeometry, RequestedDynamics
from tests.helpers.chains import run_of, settings
from tests.helpers.jumping_losses import stepped_case
from tests.measures.llc.test_verdict import GOOD, SETTINGS


@pytest.mark.parametrize("height", [1.0, 5.0])
def test_where_jumps_make_much_of_the_number_it_is_not_called_converged(height: float) -> None:
    case = stepped_case(height)
    validation = validate(case, ValidationSettings(draws=100))
    assert validation.llc is not None
    assert validation.stderr is not None
    # What chains find that follow the gradient and average the loss.
    assert validation.llc > case.truth + 3 * validation.stderr
    assert validation.verdict == Verdict.JUMPS
    assert (
        "the loss is discontinuous, and gradients do not include its jumps: they contribute +"
        in validation.verdict_reason
    )


def test_jumps_too_small_to_matter_leave_the_verdict_as_it_is() -> None:
    case = stepped_case(0.02)
    validation = validate(case, ValidationSettings(draws=200))
    assert validation.verdict == Verdict.CONVERGED
    assert validation.error_in_stderr is not None
    assert abs(validation.error_in_stderr) < 3


def test_kinks_are_no_jumps() -> None:
    """Items relu(x·w)², and |x·w| of which gradients are constant up to a kink."""
    stream = torch.Generator().manual_seed(0)
    inputs = torch.randn(200, 12, generator=stream, dtype=torch.float64)
    w = torch.zeros(12, dtype=torch.float64)

    def losses(indices: torch.Tensor) -> torch.Tensor:
        heights = inputs[indices] @ w
        return heights.relu().square() + 0.02 * (heights - 0.05).abs()

    case = Case(
        name="kinks", params={}, objective=FunctionObjective([w], 200, losses), truth=6.0, n_beta=200.0, gamma=20.0,
        batch_size=50,
    )  # fmt: skip
    validation = validate(case, ValidationSettings(draws=150))
    assert validation.verdict != Verdict.JUMPS
    assert validation.settings.baseline in {"paired", "linear"}


class Tied:
    """Least squares on 500 items, and with a `drop` one item whose loss falls by that on one side of w*, as where the
    router of a mixture of experts is all but undecided at w*."""

    def __init__(self, drop: float) -> None:
        objective, curvatures = linear_regression(samples=500, dimension=20, seed=0)
        self.truth = quadratic_llc(curvatures, 300.0, 1200.0)
        (w,) = objective.parameters
        anchor = w.detach().clone()

        def losses(indices: torch.Tensor) -> torch.Tensor:
            beyond = ((w - anchor)[0] > 0).to(w.dtype)
            return objective._losses_of(indices) - drop * beyond * (indices == 7)

        self.objective = FunctionObjective([w], 500, losses)
        self.losses, self.whole = self.objective.losses(torch.arange(500)), full_gradient(self.objective, 500)

    def sampled(self, baseline: str) -> Sampled:
        chosen = settings(
            n_beta=300.0, gamma=1200.0, lr=5e-4, n=500, batch_size=50, burn_in=50, draws=200, start="localiser",
            gradient="control-variate", baseline=baseline,
        )  # fmt: skip
        traces = [run_chain(self.objective, self.losses, chosen, c, anchor_gradient=self.whole) for c in range(4)]
        return Sampled(replace(resolution(), settings=chosen), traces, {})

    def measured(self) -> LocalGeometry:
        anchors = copy_of(self.objective.parameters)
        return measure_geometry(
            self.objective,
            lambda name: gradient_of(name, self.objective, anchors, self.whole),
            torch.arange(500),
            RequestedDynamics(gradient="control-variate", batches="independent"),
            n_beta=300.0,
            gamma=1200.0,
            start="localiser",
            batch_size=50,
            seed=0,
        ).measured


def test_an_item_that_jumps_beside_the_anchor_does_not_enter_the_number_through_its_slope() -> None:
    tied, smooth = Tied(0.02), Tied(0.0)
    linear, paired = tied.sampled("linear"), tied.sampled("paired")
    # One draw in twenty holds the item on that side, and a slope of 0.02/50 over 1.5e-8.
    assert max(map(abs, linear.traces[0].deltas)) > 1e3
    result = with_one_baseline(linear)
    assert [trace.deltas for trace in result.traces] == [trace.deltas for trace in paired.traces]
    assert result.resolution.settings.baseline == "paired"
    number = judged(result.resolution, result.traces, {})
    assert number.llc == pytest.approx(tied.truth, abs=4 * (number.stderr or 0.0))
    kept = smooth.sampled("linear")
    assert with_one_baseline(kept) is kept


def test_where_the_loss_jumps_the_linear_baseline_is_not_chosen() -> None:
    run = run_of(Tied(0.0).sampled("linear").resolution.settings)
    smooth, tied = Tied(0.0).measured(), Tied(0.02).measured()
    assert (smooth.jumps, choose_baseline("auto", run, [smooth])[0]) == (False, "linear")
    assert (tied.jumps, choose_baseline("auto", run, [tied])[0]) == (True, "paired")
    baseline, why = choose_baseline("auto", run, [replace(smooth, jumps=True)])
    assert baseline == "paired"
    assert why is not None
    assert why.startswith("baseline = paired: the loss jumps or has a kink at w*")


def trace(deltas: tuple[float, ...], **changes: Any) -> ChainTrace:
    return ChainTrace(
        chain=0, status=Status.HEALTHY, failed_at=None, losses=deltas, deltas=deltas, squared_distances=deltas[1:],
        seconds=0.0, **changes,
    )  # fmt: skip


def resolution(**changes: Any) -> ResolvedRun:
    chosen = settings(**{"burn_in": 0, "draws": 200, "start": "localiser", **changes})
    return ResolvedRun(
        settings=chosen, choices={}, curvature=1.0, trace_hessian=5.0, dimension=10, load_seconds=0.0, seconds=0.0,
        rise=0.1,
    )  # fmt: skip


def draws(count: int, seed: int = 0, *, shape: float = 3.0) -> list[float]:
    """Of a Gamma law of mean 0.05: what nβΔL has where 2 `shape` directions count."""
    law = torch.distributions.Gamma(torch.tensor(shape), torch.tensor(20 * shape))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return [float(value) for value in law.sample((count,))]


@pytest.mark.parametrize("shape", [0.2, 0.5, 1.0, 10.0])
def test_the_tail_of_a_skewed_law_does_not_shake_the_verdict(shape: float) -> None:
    for seed in range(20):
        chains = [trace((0.0, *draws(200, 10 * seed + chain, shape=shape))) for chain in range(4)]
        judgement = judged(resolution(), chains, {})
        assert "robust standard deviations" not in judgement.reason, seed


@pytest.mark.parametrize(("value", "count"), [(-4.0, 1), (-4.0, 4), (30.0, 2)])
def test_draws_far_from_all_others_are_named_and_shake_the_verdict(value: float, count: int) -> None:
    chains = [list(draws(200, chain)) for chain in range(4)]
    for place in range(count):
        chains[place % 2][50 + place] = value
    judgement = judged(resolution(), [trace((0.0, *chain)) for chain in chains], {})
    assert judgement.diagnostics.outliers == count
    assert judgement.diagnostics.outlier_llc == pytest.approx(100 * count * value / 800, rel=0.1)
    assert judgement.verdict is Verdict.NOT_EQUILIBRATED
    assert f"{count} draw" in judgement.reason
    assert f"more than {OUTLYING:g} robust standard deviations from the median" in judgement.reason


def test_a_far_draw_that_changes_little_is_counted_and_does_not_decide() -> None:
    chains = [list(draws(200, chain)) for chain in range(4)]
    chains[0][7] = 0.6
    judgement = judged(resolution(), [trace((0.0, *chain)) for chain in chains], {})
    assert judgement.diagnostics.outliers == 1
    assert "robust standard deviations" not in judgement.reason or judgement.verdict is Verdict.CONVERGED


def test_without_a_scale_or_with_few_draws_none_is_set_apart() -> None:
    assert set_apart([0.0] * 20 + [5.0]) == set()
    assert set_apart([1.0, 2.0, 100.0]) == set()
    assert set_apart([math.inf] + [float(value) for value in range(20)]) == set()
    assert set_apart([float(value % 5) for value in range(FEWEST)] + [500.0]) == {FEWEST}
    # More of them than a few are a part of the law.
    assert set_apart([float(value % 5) for value in range(40)] + [500.0] * 2) == {40, 41}
    assert set_apart([float(value % 5) for value in range(30)] + [500.0] * 2) == set()


def test_one_broken_slope_takes_the_correction_back_from_all_draws_of_all_chains() -> None:
    paired = (0.0, *draws(200))
    corrected = trace((0.0, *(value - 0.01 for value in paired[1:])), paired=paired)
    chosen = resolution(baseline="linear")
    sound = Sampled(chosen, [corrected] * 4, {("half-step", 0): corrected})
    assert with_one_baseline(sound) == sound
    broken = sound._replace(traces=[corrected, replace(corrected, broken_slopes=2), corrected, corrected])
    result = with_one_baseline(broken)
    assert all(each.deltas == paired for each in [*result.traces, *result.varied.values()])
    assert result.resolution.settings.baseline == "paired"
    assert "at 2 draws the finite difference at w* is not a slope" in result.resolution.choices["baseline"]


def test_a_draw_that_is_an_outlier_only_by_its_slope_has_a_broken_slope() -> None:
    paired = (0.0, *draws(200))
    jumped = [0.0, *(value - 0.01 * slope for value, slope in zip(paired[1:], draws(200, 7), strict=True))]
    jumped[40] -= 4.18
    sampled = Sampled(resolution(baseline="linear"), [trace(tuple(jumped), paired=paired)] * 2, {})
    assert with_one_baseline(sampled).traces[0].deltas == paired
    far = list(paired)
    far[40] -= 4.18
    # Where w itself is far away its slope is large as well.
    slopes = [0.0, *(0.01 * value for value in draws(200, 7))]
    slopes[40] -= 0.5
    wild = trace(tuple(value - slope for value, slope in zip(far, slopes, strict=True)), paired=tuple(far))
    assert with_one_baseline(Sampled(resolution(baseline="linear"), [wild] * 2, {})).traces[0] == wild


def test_a_draw_that_is_far_from_few_others_by_chance_keeps_its_slope() -> None:
    """Sixteen draws at a smooth Llama: what its slope leaves of most of them happens to lie close together."""
    slopes = [
        0.028 * value
        for value in (-1.3, 0.4, 1.1, -0.2, 0.9, -0.8, 0.1, -1.6, 0.6, 1.72, -0.5, 1.4, -1.0, 0.3, 0.0, -0.6)
    ]
    left = [
        0.186,
        0.19,
        0.18,
        0.188,
        0.204,
        0.182,
        0.1816,
        0.165,
        0.194,
        0.2441,
        0.1857,
        0.2066,
        0.179,
        0.1872,
        0.1681,
        0.184,
    ]
    paired = (0.0, *(value + slope for value, slope in zip(left, slopes, strict=True)))
    sampled = Sampled(resolution(baseline="linear"), [trace((0.0, *left), paired=paired)] * 2, {})
    assert with_one_baseline(sampled) is sampled


def test_an_outlying_slope_that_hardly_moves_its_draw_is_kept() -> None:
    """As where curvature makes nearly all of a difference: a slope that is ten times as long as others is still one."""
    paired = (0.0, *draws(200))
    slopes = [0.001 * value for value in draws(200, 7)]
    slopes[40] += 0.01
    left = (0.0, *(value - slope for value, slope in zip(paired[1:], slopes, strict=True)))
    assert set_apart(slopes) == {40}
    sampled = Sampled(resolution(baseline="linear"), [trace(left, paired=paired)] * 2, {})
    assert with_one_baseline(sampled) is sampled


@pytest.mark.parametrize("size", [1e3, 1e97, 1e200, 1e307])
def test_chains_that_ran_away_took_too_large_a_step(size: float) -> None:
    """λ̂ can be no more than nβ times what the loss is higher at draws of the localizing prior: here 10."""
    chains = [trace((0.0, *(size * value for value in draws(200, chain)))) for chain in range(4)]
    judgement = judged(resolution(), chains, {})
    assert judgement.verdict is Verdict.STEP_TOO_LARGE
    assert "the chains diverge: nβΔL is" in judgement.reason
    assert "where draws of the localizing prior alone give 10; lower `lr`" in judgement.reason


def test_where_the_loss_hardly_rises_at_draws_of_the_prior_few_directions_allow_less() -> None:
    low = replace(GOOD, prior_llc=-1.0, delta_loss=0.5)
    assert judge(50.0, 0.1, SETTINGS, low, failed=0)[0] is Verdict.CONVERGED
    verdict, reason = judge(50.0, 0.1, SETTINGS, replace(low, dimension=2), failed=0)
    assert verdict is Verdict.STEP_TOO_LARGE
    assert reason.startswith("the chains diverge: nβΔL is 50, where draws of the localizing prior alone give -1")


def test_diverged_half_step_chains_are_the_only_reason_given() -> None:
    wild = replace(GOOD, prior_llc=10.0, step_bias=-1e6, step_bias_stderr=1e6)
    verdict, reason = judge(10.0, 0.1, SETTINGS, wild, failed=0)
    assert verdict is Verdict.STEP_TOO_LARGE
    assert reason.startswith("the chains diverge: nβΔL is 1e+06")


def test_without_a_prior_only_the_impossible_is_called_too_large() -> None:
    free = replace(GOOD, prior_llc=None, delta_loss=1e3)
    assert judge(10.0, 0.1, SETTINGS, free, failed=0)[0] is Verdict.CONVERGED
    verdict, reason = judge(10.0, 0.1, SETTINGS, replace(free, delta_loss=1e30), failed=0)
    assert verdict is Verdict.STEP_TOO_LARGE
    assert reason.startswith("the chains diverge: nβΔL is 1e+32; lower `lr`")


@pytest.mark.parametrize(
    ("jumps", "verdict"),
    [
        # Mean and its error, what λ̂ is off by and its error, for λ̂ = 10 ± 0.1.
        ((0.9, 0.01, 5.0, 4.0), Verdict.CONVERGED),
        ((2.0, 0.1, 1.5, 0.2), Verdict.JUMPS),
        ((2.0, 0.1, 0.2, 0.1), Verdict.CONVERGED),
        ((2.0, 0.1, 0.2, 1.0), Verdict.JUMPS),
        ((2.0, 1.0, 1.5, 1.0), Verdict.CONVERGED),
        ((-2.0, 0.1, 1.5, 0.2), Verdict.JUMPS),
        ((0.5, 0.1, 2.0, 0.5), Verdict.JUMPS),
        ((0.0, 0.1, 5.0, 0.5), Verdict.CONVERGED),
        ((math.nan, math.nan, math.nan, math.nan), Verdict.CONVERGED),
    ],
)
def test_jumps_count_by_what_they_change(jumps: tuple[float, float, float, float], verdict: Verdict) -> None:
    mean, error, shift, unknown = jumps
    seen = replace(
        GOOD, jump_llc=mean, jump_llc_stderr=error, jump_shift=shift, jump_shift_stderr=unknown, jump_spread=1.0
    )
    assert judge(10.0, 0.1, SETTINGS, seen, failed=0)[0] is verdict
    wide = replace(seen, routers="model.layers.0.mlp.gate")
    assert ("model.layers.0.mlp.gate choose between experts" in judge(10.0, 0.1, SETTINGS, wide, failed=0)[1]) == (
        verdict is Verdict.JUMPS
    )


def test_the_shift_by_jumps_is_named_only_if_they_are_small_and_significant() -> None:
    large = replace(GOOD, jump_llc=2.0, jump_llc_stderr=0.1, jump_shift=30.0, jump_shift_stderr=0.2, jump_spread=1.0)
    verdict, reason = judge(10.0, 0.1, SETTINGS, large, failed=0)
    assert verdict is Verdict.JUMPS
    assert reason.endswith("they contribute +2 ± 0.1 to λ̂")
    assert judge(10.0, 0.1, SETTINGS, replace(large, jump_shift=1.5), failed=0)[0] is Verdict.JUMPS
    assert judge(10.0, 2.5, SETTINGS, replace(large, jump_shift=1.5), failed=0)[0] is Verdict.CONVERGED


def test_what_jumps_change_is_their_covariance_with_the_loss_of_other_items() -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        rise = torch.randn(400)
        jump = 0.3 * rise + 0.1 * torch.randn(400) + 2
    chains = [trace((0.0,), jumps=tuple(jump[i::4].tolist()), beside=tuple(rise[i::4].tolist())) for i in range(4)]
    result = jumps_of(10.0, chains)
    assert result is not None
    assert result.mean == pytest.approx(20, abs=4 * result.error)
    assert result.shift == pytest.approx(30, abs=4 * result.shift_error)
    assert result.shift_error < 4
    assert jumps_of(10.0, [replace(chains[0], jumps=(1.0, 2.0), beside=(1.0, 2.0))]) is None


def test_the_error_of_jumps_is_at_least_that_of_independent_jumps_and_of_the_chains() -> None:
    rises = (1.0, 2.0, 6.0)
    result = jumps_of(10.0, [trace((0.0,), jumps=(1.0, 2.0, 3.0), beside=rises)])
    assert result is not None
    assert (result.mean, result.shift, result.spread) == pytest.approx((20.0, 250.0, 10.0))
    assert result.error == pytest.approx(10 / math.sqrt(3))
    # The three products alone would say 88.
    assert result.shift_error == pytest.approx(10 * 10 * statistics.stdev(rises) / math.sqrt(3))
    apart = [trace((0.0,), jumps=(level, level + 0.1), beside=(1.0, 2.0)) for level in (1.0, 3.0)]
    assert (jumps_of(10.0, apart) or result).error == pytest.approx(10.0)
    # A segment where a loss is infinite says nothing.
    lost = replace(apart[0], jumps=(1.0, 1.1, math.inf), beside=(1.0, 2.0, 3.0))
    assert jumps_of(10.0, [lost, apart[1]]) == jumps_of(10.0, apart)


def test_a_quadratic_has_neither() -> None:
    case = Case(
        name="plain", params={}, objective=quadratic([1.0] * 20), truth=20 / 2 * 100 / 110, n_beta=100.0, gamma=10.0
    )
    validation = validate(case, ValidationSettings(draws=200))
    assert validation.verdict == Verdict.CONVERGED
    assert validation.error_in_stderr is not None
    assert abs(validation.error_in_stderr) < 3
