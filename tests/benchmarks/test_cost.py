"""Gradients until λ̂ is within 5 % of the exact coefficient: `auto`, plain unpaired SGLD at its best step, devinterp.

Plain SGLD is the Euler step from w* with independent minibatches, its loss at w* the mean over all samples. Its running
estimate is the mean over the second half of what it has done so far, at each of several steps and γ; the best
of all of them counts. Each is given BUDGET gradients, and plain SGLD has lost if that is enough for none.
"""

import math
import statistics
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch
from datasets.arrow_dataset import Dataset
from torch import Tensor

from hf_llc.execution.loaded_model import computing
from hf_llc.measures.llc.validation.cases import Case
from hf_llc.measures.llc.validation.problems import chain_product, sampled_data
from hf_llc.measures.llc.validation.validate import ValidationSettings, validate
from hf_llc.sampling.chain import run_chain
from hf_llc.sampling.tuning.curvature import spectrum
from hf_llc.sampling.variations import CHECKED_CHAINS
from hf_llc.settings.resolved import ResolvedSettings
from tests.benchmarks.panel import Net, nets
from tests.helpers.counting_objective import Counted

CLOSE = 0.05
SIZES = range(11)
"""Nets of the panel that are small enough for so many runs of plain SGLD: up to 21,000 weights."""
EFFORTS = (10, 20, 50, 100, 200, 400)
BESIDE = 200
"""Draws of the runs that are put beside devinterp's."""
FRACTIONS = (0.3, 0.1, 0.03, 0.01)
CUSTOMARY_GAMMA = 1.0
BUDGET, CHAINS = 40_000, 4


@dataclass(frozen=True)
class Reached:
    """Gradients until the error stays below CLOSE, None if it never does; and the last estimate.

    `own` are those of the chains that make the number: without the checks, which make its error and verdict, and
    without what is measured beforehand.
    """

    gradients: int | None
    llc: float
    own: int = 0


def with_auto(net: Net) -> Reached:
    """The smallest effort from which on every larger one is close too; every gradient counts."""
    tried, spent = [], []
    for draws in EFFORTS:
        case = net.case()
        counted = Counted(case.objective, case.batch_size)
        tried.append(validate(replace(case, objective=counted), ValidationSettings(draws=draws, burn_in=2 * draws)))
        spent.append(round(counted.gradients))
    close = [result.llc is not None and abs(result.llc - result.truth) <= CLOSE * result.truth for result in tried]
    from_on = next((i for i in range(len(tried)) if all(close[i:])), None)
    if from_on is None:
        return Reached(None, tried[-1].llc or math.nan)
    return Reached(spent[from_on], tried[-1].llc or math.nan, own_gradients(tried[from_on].settings))


def own_gradients(settings: ResolvedSettings) -> int:
    """Of the chains themselves and the two at 2γ that carry their number to the limit."""
    each = 2 if settings.gradient == "control-variate" else 1
    return (settings.chains + CHECKED_CHAINS) * (settings.steps + 1) * each


def plain(case: Case, gamma: float, lr: float, steps: int) -> Reached:
    """One sweep point of plain SGLD."""
    objective = case.objective
    anchors = objective.losses(torch.arange(objective.n))
    settings = ResolvedSettings(
        n_beta=case.n_beta, gamma=gamma, lr=lr, momentum=0.0, gradient="minibatch", sampler="sgld", chains=CHAINS,
        draws=steps, burn_in=0, thin=1, batch_size=case.batch_size, micro_batch_size=case.batch_size, context_length=1,
        n=objective.n, seed=0, threads=1, device="cpu", dtype="float32",
    )  # fmt: skip
    losses = [run_chain(objective, anchors, settings, chain).losses for chain in range(CHAINS)]
    shortest = min(map(len, losses))
    trace = torch.tensor([list(chain[:shortest]) for chain in losses], dtype=torch.float64).mean(0) - anchors.mean()
    return reached(case.n_beta * trace, case.truth)


def reached(trace: Tensor, truth: float) -> Reached:
    """When the mean over the second half of the trace so far comes close for good; CHAINS gradients an entry."""
    sums = torch.cat([torch.zeros(1, dtype=torch.float64), trace.cumsum(0)])
    ends = torch.unique(torch.logspace(1, math.log10(len(trace)), 100).long())
    means = (sums[ends] - sums[ends // 2]) / (ends - ends // 2)
    close = ((means - truth).abs() <= CLOSE * truth).tolist()
    first = next((i for i in range(len(close)) if all(close[i:])), None)
    return Reached(None if first is None else CHAINS * int(ends[first]), float(means[-1]))


def best_plain(net: Net, budget: int) -> tuple[Reached, float, float]:
    """The sweep point that comes close first, else the one that ends nearest; its γ and ε."""
    results = []
    for gamma in (net.case().gamma, CUSTOMARY_GAMMA):
        case = net.case()
        sharpest = spectrum(case.objective, torch.arange(case.objective.n), 0).largest
        for fraction in FRACTIONS:
            lr = fraction / (case.n_beta * sharpest + gamma)
            results.append((plain(case, gamma, lr, budget // CHAINS), gamma, lr))
    truth = net.case().truth
    return min(results, key=lambda each: (each[0].gradients or math.inf, abs(each[0].llc - truth)))


def test_auto_takes_at_most_a_tenth_of_what_plain_sgld_takes() -> None:
    ratios, own = [], []
    print()
    with computing(1):
        for net in [nets()[i] for i in SIZES]:
            ours = with_auto(net)
            assert ours.gradients is not None
            theirs, gamma, lr = best_plain(net, BUDGET)
            ratios.append(math.inf if theirs.gradients is None else theirs.gradients / ours.gradients)
            own.append(math.inf if theirs.gradients is None else theirs.gradients / ours.own)
            never = f"never ({theirs.llc:.0f} after {BUDGET:,})"
            won = never if theirs.gradients is None else f"{theirs.gradients:,}"
            print(
                f"{net.name}, λ = {net.case().truth:.1f}: auto {ours.gradients:,} gradients ({ours.own:,} of "
                f"them for the number), plain SGLD {won}, "
                f"its best γ {gamma:g}, ε {lr:.1e}",
                flush=True,
            )
    median, lost = statistics.median(ratios), ratios.count(math.inf)
    print(
        f"plain SGLD over auto, median: {median:.1f}, over auto without measurements and checks "
        f"{statistics.median(own):.1f}; never: {lost} of {len(ratios)}"
    )
    assert median >= 10


class LinearNet(torch.nn.Module):
    """The factors of a case as a module, for a library that wants one."""

    def __init__(self, factors: Sequence[Tensor]) -> None:
        super().__init__()
        self.factors = torch.nn.ParameterList([torch.nn.Parameter(factor.detach().clone()) for factor in factors])

    def forward(self, inputs: Tensor) -> Tensor:
        """W x for inputs (m, width)."""
        return inputs @ chain_product(list(self.factors)).T


@pytest.mark.parametrize("index", [0, 1, 5])
def test_beside_devinterp_at_the_same_budget(index: int, tmp_path: Path) -> None:
    from devinterp.slt.llc import llc

    net = nets()[index]
    case = net.case()
    inputs, labels = sampled_data(net.widths, net.rank, net.samples)

    def loss(model: torch.nn.Module, ids: Tensor) -> Tensor:
        index = ids[:, 0]
        errors: Tensor = labels[index] - model(inputs[index])
        return errors.square().sum(dim=1, keepdim=True).div(2)

    with computing(1):
        ours = validate(case, ValidationSettings(draws=BESIDE, burn_in=2 * BESIDE))
        _, gamma, lr = best_plain(net, ours.gradient_evaluations)
        steps = ours.gradient_evaluations // CHAINS
        rows = Dataset.from_dict({"input_ids": [[i, 0] for i in range(net.samples)]}).with_format("torch")
        with warnings.catch_warnings(), torch.random.fork_rng():
            # Their own and zarr's deprecations; nothing of ours.
            warnings.simplefilter("ignore")
            theirs = llc(
                LinearNet(case.objective.parameters), rows, {}, lr=lr, n_beta=case.n_beta, localization=gamma,
                num_chains=CHAINS, num_draws=steps // 2, num_burnin_steps=steps // 2, batch_size=case.batch_size,
                device="cpu", output_path=tmp_path / "samples.zarr", loss_fn=loss,
            )  # fmt: skip
    value, spread = float(theirs.llc_mean), float(theirs.llc_std)
    assert ours.llc is not None
    print(
        f"\n{net.name}, λ = {case.truth:.1f}, {ours.gradient_evaluations:,} gradients: hf-llc"
        f" {ours.llc:.1f} ± {ours.stderr:.1f} ({ours.llc / case.truth - 1:+.1%}, {ours.verdict}), "
        f"devinterp 2.0.1 {value:.1f} ± {spread:.1f} ({value / case.truth - 1:+.1%})"
    )
    assert abs(ours.llc - case.truth) < abs(value - case.truth)
