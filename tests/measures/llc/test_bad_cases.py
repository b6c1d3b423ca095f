"""Ways to get a wrong number, through the code that an estimate runs: each has the verdict that warns of it."""

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from hf_llc.errors import SettingsError
from hf_llc.measures.llc.validation.cases import Case, case_of
from hf_llc.measures.llc.validation.problems import FunctionObjective, quadratic
from hf_llc.measures.llc.validation.validate import Validation, ValidationSettings, validate
from hf_llc.results.estimate import ChainTrace, Status
from hf_llc.sampling.chain import run_chain
from hf_llc.sampling.objective import Objective
from hf_llc.settings.resolved import ResolvedSettings


def judged(objective: Objective, n_beta: float, gamma: float, start: str = "auto", **effort: object) -> Validation:
    """The outcome of sampling that loss; the truth is not asked for."""
    case = Case(name="bad", params={}, objective=objective, truth=1.0, n_beta=n_beta, gamma=gamma, start=start)
    return validate(case, ValidationSettings(**{"draws": 300, **effort}))  # type: ignore[arg-type]


def test_a_step_past_stability_is_refused_before_anything_is_sampled() -> None:
    with pytest.raises(SettingsError, match="past the stability limit"):
        validate(case_of("gaussian"), ValidationSettings(lr=1.0))


def test_a_step_that_widens_the_posterior_is_too_large() -> None:
    judgement = judged(quadratic([1.0, 2.0, 4.0] * 30), 100.0, 100.0, sampler="sgld", lr=3.0 / 500)
    assert judgement.verdict == "step-too-large"


def test_a_chain_far_too_short_is_not_equilibrated() -> None:
    judgement = judged(quadratic([1.0] * 50), 100.0, 100.0, "anchor", sampler="sgld", lr=1e-5, burn_in=0, draws=20)
    assert judgement.verdict == "not-equilibrated"


def test_a_flat_direction_without_a_prior_is_not_equilibrated() -> None:
    judgement = judged(quadratic([1.0] * 20 + [0.0] * 20), 100.0, 0.0)
    assert judgement.verdict == "not-equilibrated"
    assert judgement.llc is not None


def moved_off(distance: float) -> FunctionObjective:
    """L = ½ ‖w‖² with w* at that distance from its minimum in each of 40 directions."""
    w = torch.full((40,), distance, dtype=torch.float64)
    return FunctionObjective([w], 1, lambda indices: w.square().sum().div(2).expand(len(indices)))


def test_a_point_off_the_minimum_is_not_a_minimum() -> None:
    assert judged(moved_off(0.0), 100.0, 100.0).verdict == "converged"
    assert judged(moved_off(0.5), 100.0, 100.0).verdict == "not-a-minimum"


def hole(depth: float, width: float, count: int) -> FunctionObjective:
    """L = depth (1 − e^(−‖w‖²/2 width²)): constant a few widths away from its minimum."""
    w = torch.zeros(count, dtype=torch.float64)

    def losses_of(indices: Tensor) -> Tensor:
        return (depth * (1 - (-w.square().sum() / (2 * width**2)).exp())).expand(len(indices))

    return FunctionObjective([w], 1, losses_of)


def test_a_constant_loss_has_no_error_and_is_not_called_converged() -> None:
    """40.5 ± 0.0: nβ times the depth, be the coefficient of the minimum what it may."""
    judgement = judged(hole(0.405, 1e-3, 20), 100.0, 10.0, "localiser")
    assert judgement.llc == pytest.approx(40.5)
    assert judgement.stderr == pytest.approx(0.0, abs=1e-6)
    assert judgement.verdict != "converged"
    assert "all draws are equal up to rounding" in judgement.verdict_reason


def test_too_few_draws_or_chains_are_not_called_converged() -> None:
    few = judged(quadratic([1.0, 2.0, 4.0] * 7), 100.0, 100.0, draws=10)
    two = judged(quadratic([1.0, 2.0, 4.0] * 7), 100.0, 100.0, chains=2)
    assert few.verdict != "converged"
    assert "where 50 is needed: raise `draws` or `chains`" in few.verdict_reason
    assert two.verdict == "undersampled"
    assert two.verdict_reason.startswith("2 chains, where 4 are needed")


def test_a_coefficient_of_nothing_is_imprecise_however_small_its_error() -> None:
    """A direction of curvature 1e-3 and γ = 10: λ̂ = 0.005, far below what some hundred draws resolve."""
    judgement = judged(quadratic([1e-3]), 100.0, 10.0, draws=60)
    assert judgement.stderr is not None
    assert judgement.stderr < 0.01
    assert judgement.verdict in {"imprecise", "undersampled"}


def test_chains_that_hop_between_two_basins_are_not_called_converged() -> None:
    """Beside 20 curvatures, minima at 0 and 1 with 4 kT between them, the second one 2 kT deeper: λ̂ = 8.27, where
    chains that hop now and then give 9.5 ± 0.4 with an R-hat of 1.06."""
    w = torch.zeros(21, dtype=torch.float64)

    def losses_of(indices: Tensor) -> Tensor:
        t = w[0]
        wells = 0.2 * (4 * t * (1 - t)).square() - 0.1 * t.square() * (3 - 2 * t.clamp(-0.5, 1.5))
        return (wells + w[1:].square().sum() / 2).expand(len(indices))

    judgement = judged(FunctionObjective([w], 1, losses_of), 20.0, 2.0, draws=200)
    assert judgement.verdict == "not-equilibrated"
    assert "chains stay at two distances from w*" in judgement.verdict_reason


def test_half_the_chains_dead_is_a_step_too_large(monkeypatch: pytest.MonkeyPatch) -> None:

    def dying(objective: Objective, anchors: Tensor, settings: ResolvedSettings, chain: int, **more: Any) -> ChainTrace:
        trace = run_chain(objective, anchors, settings, chain, **more)
        if chain < 2:
            return trace
        return replace(trace, status=Status.NONFINITE, failed_at=9, deltas=(*trace.deltas[:9], math.nan))

    monkeypatch.setattr("hf_llc.measures.llc.validation.validate.run_chain", dying)
    judgement = judged(quadratic([1.0] * 10), 100.0, 100.0)
    assert judgement.verdict == "step-too-large"
    assert judgement.verdict_reason.startswith("2 of 4 chains became inf or NaN")
    assert judgement.llc is not None


def test_the_same_case_with_enough_effort_is_converged() -> None:
    validation = validate(replace(case_of("gaussian"), start="localiser"), ValidationSettings(draws=600))
    assert validation.verdict == "converged"
