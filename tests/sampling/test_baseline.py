"""The slope at w* as part of the baseline: no other number, less noise, and taken where it pays."""

import gc
import math
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from hf_llc.errors import SettingsError
from hf_llc.measures.llc.soundness import on_one_baseline
from hf_llc.measures.llc.validation.exact import quadratic_llc
from hf_llc.measures.llc.validation.problems import FunctionObjective, linear_regression, sampled_deep_linear
from hf_llc.results.estimate import ChainTrace
from hf_llc.sampling.baseline import Linear, Scatter, nudge_of, scatter_at, scattered, slope
from hf_llc.sampling.chain import run_chain
from hf_llc.sampling.gradients import full_gradient, gradient_of
from hf_llc.sampling.objective import copy_of
from hf_llc.sampling.statistics import DrawStatistics, summarise
from hf_llc.sampling.tuning.choose_baseline import CHAINS, choose_baseline, gain
from hf_llc.sampling.tuning.measure import measure_geometry
from hf_llc.sampling.tuning.measurements import LocalGeometry, RequestedDynamics
from hf_llc.sampling.variations import VARIATIONS
from hf_llc.settings.resolved import ResolvedSettings
from hf_llc.settings.sampler import SamplerSettings
from tests.helpers.chains import run_of, settings
from tests.helpers.counting_objective import live_copies

N = 60


def logistic(dtype: torch.dtype = torch.float64) -> FunctionObjective:
    """Items whose slopes differ at w*, and whose loss is no polynomial of w."""
    stream = torch.Generator().manual_seed(0)
    inputs = torch.randn(N, 4, generator=stream, dtype=torch.float64).to(dtype)
    signs = torch.where(torch.rand(N, generator=stream) < 0.5, -1.0, 1.0).to(dtype)
    w = torch.full((4,), 0.3, dtype=dtype)
    return FunctionObjective(
        [w], N, lambda indices: torch.nn.functional.softplus(-signs[indices] * (inputs[indices] @ w))
    )


def kinked(strength: float) -> FunctionObjective:
    """The same with a kink at w*, of which autograd's gradient says nothing: it is 0 there."""
    smooth = logistic()
    (w,) = smooth.parameters
    inputs = torch.randn(N, 4, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    return FunctionObjective(
        [w], N, lambda indices: smooth._losses_of(indices) + strength * (inputs[indices] @ (w - 0.3)).abs()
    )


def displaced(objective: FunctionObjective, sigma: float) -> tuple[list[Tensor], Tensor, list[Tensor]]:
    """w*, its losses and gradient; the weights are at w* + σξ afterwards."""
    anchors, losses = copy_of(objective.parameters), objective.losses(torch.arange(N))
    whole = full_gradient(objective, N)
    with torch.no_grad():
        stream = torch.Generator().manual_seed(1)
        for parameter in objective.parameters:
            parameter.add_(torch.randn(parameter.shape, generator=stream).to(parameter.dtype), alpha=sigma)
    return anchors, losses, whole


@pytest.mark.parametrize("nudge", [1e-6, 1e-3, 0.5])
def test_the_slope_of_a_quadratic_is_exact_at_any_nudge(nudge: float) -> None:
    at_nudge, at_end = (torch.tensor(3.0 * t - 5.0 * t**2, dtype=torch.float64) for t in (nudge, 1.0))
    assert float(slope(at_nudge, at_end, nudge)) == pytest.approx(3.0, rel=1e-9)


@pytest.mark.parametrize(("dtype", "error"), [(torch.float32, 2e-3), (torch.float64, 1e-6)])
def test_the_slope_of_a_loss_is_its_directional_derivative_but_for_the_machines_precision(
    dtype: torch.dtype, error: float
) -> None:
    objective = logistic(dtype)
    anchors, losses, whole = displaced(objective, 0.3)
    apart = objective.parameters[0].detach() - anchors[0]
    difference = (objective.losses(torch.arange(N)) - losses).mean()
    nudge = nudge_of(anchors)
    with torch.no_grad():
        objective.parameters[0].copy_(anchors[0] + nudge * apart)
    nudged = (objective.losses(torch.arange(N)) - losses).mean()
    exact = float((whole[0] * apart).sum())
    assert abs(exact) > 0.01
    assert float(slope(nudged, difference, nudge)) == pytest.approx(exact, rel=error)


@pytest.mark.parametrize(("strength", "is_broken"), [(0.0, False), (1e-3, False), (0.3, True)])
def test_a_kink_at_the_anchor_leaves_no_slope(strength: float, is_broken: bool) -> None:
    """Slopes to either side of a kink differ, and their mean over minibatches is not that of the gradient."""
    objective = kinked(strength)
    anchors, losses, whole = displaced(objective, 0.3)
    items = torch.arange(N)
    assert scatter_at(objective, anchors, items).jumps == is_broken
    corrected = Linear(objective, anchors, losses, whole)(items)(objective.losses(items) - losses)
    assert bool(corrected.broken) == is_broken


def test_chains_of_a_loss_with_a_kink_keep_the_paired_baseline() -> None:
    chosen = replace(settings(baseline="linear", burn_in=50, draws=200, batch_size=10), n=N, lr=1e-3)
    objective = kinked(0.3)
    losses = objective.losses(torch.arange(N))
    trace = run_chain(objective, losses, chosen, 0, anchor_gradient=full_gradient(objective, N))
    (paired,), count = on_one_baseline([trace])
    assert count > 10
    assert paired.deltas == trace.paired
    # What the slope would have taken away: most of the rise, for good.
    assert sum(trace.deltas) < 0.6 * sum(trace.paired)


def test_over_all_minibatches_the_difference_is_as_before_and_scatters_less() -> None:
    objective = logistic()
    anchors, losses, whole = displaced(objective, 0.05)
    linear = Linear(objective, anchors, losses, whole)
    here = copy_of(objective.parameters)
    batches = torch.randperm(N, generator=torch.Generator().manual_seed(2)).split(6)
    paired = torch.stack([(objective.losses(batch) - losses[batch]).mean() for batch in batches])
    corrected = torch.stack([linear(batch)(delta).delta for batch, delta in zip(batches, paired, strict=True)])
    assert torch.equal(objective.parameters[0].detach(), here[0])
    torch.testing.assert_close(corrected.mean(), paired.mean(), rtol=1e-6, atol=0.0)
    assert corrected.std() < paired.std() / 20


def test_how_items_differ_is_measured_at_the_weights_as_they_are_and_leaves_them() -> None:
    objective = logistic()
    anchors, losses, _ = displaced(objective, 0.05)
    here = copy_of(objective.parameters)
    scatter, curved, jumps = scatter_at(objective, anchors, torch.arange(N))
    assert torch.equal(objective.parameters[0].detach(), here[0])
    assert not jumps
    difference = objective.losses(torch.arange(N)) - losses
    assert scatter == pytest.approx(float(difference.var()))
    apart = here[0] - anchors[0]
    slopes = []
    with torch.no_grad():
        objective.parameters[0].copy_(anchors[0])
    for item in range(N):
        objective.losses_and_gradient(torch.tensor([item]))
        assert objective.parameters[0].grad is not None
        slopes.append((objective.parameters[0].grad * apart).sum())
    assert curved == pytest.approx(float((difference - torch.stack(slopes)).var()), rel=1e-4)


def test_one_item_or_a_loss_that_is_not_finite_says_nothing() -> None:
    nothing = torch.tensor([math.inf, 1.0])
    assert scattered(nothing, torch.zeros(2), 1e-3) == scattered(torch.ones(1), torch.ones(1), 1e-3) == Scatter()


def run(chosen: ResolvedSettings, chain: int = 0) -> ChainTrace:
    objective = logistic()
    losses, whole = objective.losses(torch.arange(N)), full_gradient(objective, N)
    return run_chain(objective, losses, chosen, chain, anchor_gradient=whole)


@pytest.mark.parametrize("batches", ["independent", "reshuffled"])
def test_chains_walk_as_they_would_without_it(batches: str) -> None:
    chosen = settings(n=N, batch_size=6, burn_in=5, draws=12, thin=3, batches=batches)
    paired, linear = run(chosen), run(replace(chosen, baseline="linear"))
    assert (linear.losses, linear.squared_distances) == (paired.losses, paired.squared_distances)
    drawn = set(range(8, 42, 3))
    same = [one == other for one, other in zip(paired.deltas, linear.deltas, strict=True)]
    assert [step for step, equal in enumerate(same) if not equal] == sorted(drawn)


def test_with_reshuffled_batches_the_slope_is_that_of_the_measured_items() -> None:
    chosen = settings(n=N, batch_size=6, burn_in=5, draws=200, gamma=2000.0, lr=2e-4, batches="reshuffled")
    paired, linear = (torch.tensor(run(replace(chosen, baseline=each)).draws(chosen)) for each in ("paired", "linear"))
    assert linear.std() < 0.6 * paired.std()


def test_a_linear_baseline_needs_the_gradient_at_the_anchor() -> None:
    objective = logistic()
    chosen = settings(n=N, batch_size=6, baseline="linear")
    with pytest.raises(ValueError, match="full gradient"):
        run_chain(objective, objective.losses(torch.arange(N)), chosen, 0)


def noisy_traces(chosen: ResolvedSettings) -> list[ChainTrace]:
    """Chains on least squares with unit label noise, whose gradients are kept quiet."""
    objective, _ = linear_regression(samples=500, dimension=20, seed=0)
    losses, whole = objective.losses(torch.arange(500)), full_gradient(objective, 500)
    return [run_chain(objective, losses, chosen, chain, anchor_gradient=whole) for chain in range(4)]


def regression(chosen: ResolvedSettings) -> DrawStatistics:
    """Their λ̂."""
    return summarise([[chosen.n_beta * delta for delta in trace.draws(chosen)] for trace in noisy_traces(chosen)])


def label_noise(**changes: object) -> ResolvedSettings:
    plain: dict[str, object] = {
        "n_beta": 300.0, "gamma": 1200.0, "lr": 5e-4, "n": 500, "batch_size": 50, "burn_in": 50, "draws": 500,
        "gradient": "control-variate",
    }  # fmt: skip
    return settings(**{**plain, **changes})


def test_the_number_is_the_same_with_a_fraction_of_the_error() -> None:
    _, curvatures = linear_regression(samples=500, dimension=20, seed=0)
    truth = quadratic_llc(curvatures, 300.0, 1200.0)
    paired, linear = regression(label_noise()), regression(label_noise(baseline="linear"))
    assert linear.mcse < paired.mcse / 2
    assert linear.mcse < 0.03 * truth
    assert abs(linear.mean - truth) < 3 * linear.mcse
    assert abs(paired.mean - linear.mean) < 3 * paired.mcse


def measured_around() -> LocalGeometry:
    objective, _ = linear_regression(samples=500, dimension=20, seed=0)
    return measure_geometry(
        objective,
        lambda name: gradient_of(name, objective, copy_of(objective.parameters), full_gradient(objective, 500)),
        torch.arange(500),
        RequestedDynamics(gradient="control-variate", batches="independent"),
        n_beta=300.0,
        gamma=1200.0,
        start="localiser",
        batch_size=50,
        seed=0,
    ).measured


def test_what_is_measured_is_how_items_differ_with_and_without_the_slope() -> None:
    """On least squares with residuals r of unit variance, x·Δ has the variance ‖Δ‖² over white inputs x."""
    result = measured_around()
    squared = 20 / 1200
    # r x·Δ and ½ (x·Δ)², whose variance is ½ ‖Δ‖⁴; a few hundred items and one displacement.
    assert result.scatter == pytest.approx(squared, rel=0.6)
    assert result.curved == pytest.approx(result.scatter**2 / 2, rel=0.5)


def test_the_mean_is_more_precise_by_as_much_as_was_foreseen_and_that_pays() -> None:
    chosen, results = label_noise(), measured_around()
    foreseen = gain(run_of(chosen), results)
    paired, linear = (regression(replace(chosen, baseline=each)) for each in ("paired", "linear"))
    assert 5 < (paired.mcse / linear.mcse) ** 2 < foreseen < 40
    baseline, why = choose_baseline("auto", run_of(chosen), [results])
    assert baseline == "linear"
    assert why is not None
    # A third of a gradient a draw and two more at each fourth, and a quarter of one over all items, beside 2 · 550.
    assert f"{(500 / 3 * 1.5 + 500 / 50 / CHAINS) / 1100:.0%} more gradients" in why


QUIET = LocalGeometry(curvature=2.0, trace=40.0, squares=60.0, noise=1e-6, rise=0.1)


@pytest.mark.parametrize(
    ("local_geometry", "changes"),
    [
        (QUIET, {}),
        (replace(QUIET, scatter=1.0, curved=0.9), {}),
        (replace(QUIET, scatter=1e-6, curved=0.0), {}),
        (replace(QUIET, scatter=1.0, curved=0.01), {"dtype": "bfloat16"}),
        (replace(QUIET, scatter=1.0, curved=0.01), {"batch_size": 500}),
        (replace(QUIET, scatter=1.0, curved=0.01), {"start": "both"}),
        (replace(QUIET, scatter=1.0, curved=0.05), {"burn_in": 0, "draws": 4, "n": 50_000}),
        (replace(QUIET, scatter=math.nan, curved=math.nan), {}),
        (replace(QUIET, scatter=1.0, curved=0.01, level=100.0), {"dtype": "float32"}),
    ],
    ids=[
        "not measured",
        "no gain",
        "posterior scatters more",
        "16 bits",
        "all items",
        "both ends",
        "few draws",
        "not finite",
        "rounding",
    ],
)
def test_it_is_left_where_it_does_not_pay(local_geometry: LocalGeometry, changes: dict[str, object]) -> None:
    assert choose_baseline("auto", run_of(label_noise(**changes)), [local_geometry]) == ("paired", None)


def test_it_is_taken_at_the_least_gain_that_pays() -> None:
    chosen = label_noise()
    plain = chosen.gradients
    cost = (replace(chosen, baseline="linear").gradients + 500 / 50 / CHAINS) / plain
    alone = replace(QUIET, scatter=1e6)
    for factor, expected in ((0.99, "paired"), (1.01, "linear")):
        at = replace(alone, curved=1e6 / (cost * factor))
        assert choose_baseline("auto", run_of(chosen), [at])[0] == expected


def test_rounding_is_weighed_against_the_number_and_its_error() -> None:
    result = replace(QUIET, scatter=1.0, curved=0.01, trace=-QUIET.trace)
    run = run_of(label_noise(dtype="float32"))
    # The standard error of 2000 draws is 0.095, and half of √eps nβ / √n is 2.3e-3 a nat.
    assert choose_baseline("auto", run, [replace(result, level=10.0)])[0] == "linear"
    assert choose_baseline("auto", run, [replace(result, level=10.6)])[0] == "paired"
    assert choose_baseline("auto", run._replace(dtype="float64"), [replace(result, level=10.6)])[0] == "linear"
    # 0.2 % of a λ̂ of 36 or more are 0.073.
    larger = replace(result, trace=400.0, squares=600.0, scatter=100.0, curved=1e-4)
    assert choose_baseline("auto", run, [replace(larger, level=30.0)])[0] == "linear"
    assert choose_baseline("auto", run, [replace(larger, level=100.0)])[0] == "paired"


def test_for_a_curve_it_must_pay_at_half_of_the_checkpoints() -> None:
    run, pays = run_of(label_noise()), replace(QUIET, scatter=1.0, curved=0.01)
    assert choose_baseline("auto", run, [QUIET, pays, pays])[0] == "linear"
    assert choose_baseline("auto", run, [QUIET, QUIET, pays])[0] == "paired"


@pytest.mark.parametrize("asked", ["paired", "linear"])
def test_what_is_asked_for_is_taken_in_any_case(asked: str) -> None:
    assert choose_baseline(asked, run_of(label_noise()), [QUIET]) == (asked, None)


def test_a_loss_alone_counts_as_a_third_of_a_gradient() -> None:
    chosen = label_noise(gradient="minibatch", thin=2)
    assert chosen.gradients == chosen.steps == 1050
    assert replace(chosen, baseline="linear").gradients == pytest.approx(1050 + 750 / 3)
    assert replace(chosen, baseline="linear", batches="reshuffled").gradients == pytest.approx(1050 + 1250 / 3)
    assert replace(chosen, gradient="control-variate").gradients == 2100


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"baseline": "none"}, "auto, paired, linear"),
        ({"baseline": "linear", "dtype": "bfloat16"}, "float32"),
    ],
)
def test_what_cannot_be_is_refused_in_words(changes: dict[str, str], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        SamplerSettings(**changes)  # type: ignore[arg-type]


def test_checks_have_the_baseline_of_the_chains_that_they_vary() -> None:
    chosen = label_noise(baseline="linear")
    assert {variation.settings(chosen).baseline for variation in VARIATIONS} == {"linear"}


def test_a_chain_with_it_takes_four_copies_of_the_weights() -> None:
    """w, w*, ∇L_n(w*), and either a gradient or w itself while the losses are taken elsewhere."""
    objective = sampled_deep_linear((41, 41, 41, 41, 41), 41, 90)
    whole = full_gradient(objective, 90)
    losses, most = objective.losses(torch.arange(90)), {"losses": 0.0, "losses_and_gradient": 0.0}

    def watched(name: str, act: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
        def look(indices: Tensor) -> Tensor:
            result = act(indices)
            most[name] = max(most[name], live_copies(objective.parameters))
            return result

        return look

    for name in most:
        setattr(objective, name, watched(name, getattr(objective, name)))
    gc.freeze()
    try:
        chosen = settings(
            n=90, batch_size=30, burn_in=2, draws=4, gamma=100.0, lr=1e-4, dtype="float32", baseline="linear"
        )
        run_chain(objective, losses, chosen, 0, anchor_gradient=whole, keep_noise=False)
    finally:
        gc.unfreeze()
    # ∇L_n(w*) is there all the while, and unseen since it was there before. On a CPU w itself waits beside the gradient
    # where the way to a draw is looked at.
    assert most == {"losses": 3.0, "losses_and_gradient": 4.0}
