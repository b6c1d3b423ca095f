"""What is looked at before the chains: the first items where others are like them, and minibatches that are sharper."""

import math
from typing import Any

import pytest
import torch

from hf_llc.measures.llc.validation.cases import Case
from hf_llc.measures.llc.validation.exact import quadratic_llc
from hf_llc.measures.llc.validation.problems import FunctionObjective
from hf_llc.measures.llc.validation.validate import ValidationSettings, validate
from hf_llc.results.estimate import Verdict
from hf_llc.sampling.gradients import gradient_of
from hf_llc.sampling.objective import copy_of
from hf_llc.sampling.tuning.choose_sampler import choose_dynamics
from hf_llc.sampling.tuning.measure import measure_geometry
from hf_llc.sampling.tuning.measurements import (
    LocalGeometry,
    RequestedDynamics,
    combine_worst_case,
    rescale_from_similar,
)
from hf_llc.sampling.tuning.probe import choose_probe

N, BATCH = 1000, 16


def regression(late: int = 0, times: float = 40.0, flat: int = 0) -> tuple[FunctionObjective, list[float]]:
    """Least squares whose last `late` inputs are `times` as long and whose first `flat` ones are short, with the
    curvatures of its loss."""
    stream = torch.Generator().manual_seed(1)
    inputs = torch.randn(N, 8, generator=stream, dtype=torch.float64)
    labels = torch.randn(N, generator=stream, dtype=torch.float64)
    inputs[N - late :] *= times
    inputs[:flat] *= 0.1
    w = torch.linalg.lstsq(inputs, labels[:, None]).solution[:, 0].contiguous()
    curvatures: list[float] = torch.linalg.eigvalsh(inputs.T @ inputs / N).tolist()
    return FunctionObjective(
        [w], N, lambda indices: (labels[indices] - inputs[indices] @ w).square().div(2)
    ), curvatures


def test_items_like_the_first_ones_leave_these_to_be_looked_at() -> None:
    objective, _ = regression()
    before = copy_of(objective.parameters)
    result = choose_probe(objective, BATCH, BATCH, 0)
    assert result.sharp is None
    assert result.items(BATCH).tolist() == list(range(BATCH))
    assert torch.equal(objective.parameters[0].detach(), before[0])


def test_a_text_whose_beginning_is_unlike_the_rest_is_probed_at_random() -> None:
    objective, _ = regression(flat=94)
    result = choose_probe(objective, BATCH, BATCH, 0)
    assert result.items(BATCH).tolist() != list(range(BATCH))
    assert sorted(result.items(N).tolist()) == list(range(N))
    assert result.sharp is None
    again, other = choose_probe(objective, BATCH, BATCH, 0), choose_probe(objective, BATCH, BATCH, 1)
    assert torch.equal(result.order, again.order)
    assert not torch.equal(result.order, other.order)


def test_a_minibatch_that_is_far_sharper_is_found_and_steps_are_chosen_by_it() -> None:
    objective, curvatures = regression(late=4)
    result = choose_probe(objective, 256, BATCH, 0)
    assert result.sharp is not None
    assert len(result.sharp) == BATCH
    assert int(result.sharp.max()) >= N - 4

    def measured(**options: Any) -> LocalGeometry:
        return measure_geometry(
            objective,
            lambda name: gradient_of(name, objective, copy_of(objective.parameters), None),
            torch.arange(256),
            RequestedDynamics(gradient="minibatch", batches="independent"),
            n_beta=100.0,
            gamma=5.0,
            start="anchor",
            batch_size=BATCH,
            seed=0,
            **options,
        ).measured

    before, after = measured(), measured(probe=result)
    # The first 256 items show nothing of it.
    assert before.limiting < 2 < max(curvatures)
    assert after.limiting > 100
    asked = RequestedDynamics(sampler="sgld-lm", gradient="minibatch", batches="independent")
    assert choose_dynamics(asked, 100.0, 5.0, after).lr < choose_dynamics(asked, 100.0, 5.0, before).lr / 20
    assert combine_worst_case([before, after]).sharp == after.sharp
    assert (rescale_from_similar(before, [(after, after)]) or before).sharp == after.sharp


def test_a_loss_that_is_not_finite_beside_the_anchor_changes_nothing() -> None:
    w = torch.zeros(3, dtype=torch.float64)
    objective = FunctionObjective([w], N, lambda indices: (w.square().sum() / 0.0 + 1.0).expand(len(indices)))
    result = choose_probe(objective, BATCH, BATCH, 0)
    assert (result.sharp, result.items(3).tolist()) == (None, [0, 1, 2])


def test_where_minibatches_hold_all_items_nothing_is_drawn() -> None:
    objective, _ = regression(late=4)
    result = choose_probe(objective, N, N, 0)
    assert (result.sharp, result.items(3).tolist()) == (None, [0, 1, 2])


@pytest.mark.parametrize("seed", [0, 1])
def test_a_few_late_items_of_great_leverage_do_not_blow_the_chains_up(seed: int) -> None:
    """Chains ran away to 1e10 and beyond, since their step was stable on the first 256 items only."""
    objective, curvatures = regression(late=4)
    case = Case(
        name="leverage", params={}, objective=objective, truth=quadratic_llc(curvatures, 100.0, 5.0), n_beta=100.0,
        gamma=5.0, batch_size=BATCH,
    )  # fmt: skip
    validation = validate(case, ValidationSettings(draws=100, burn_in=100, seed=seed))
    assert validation.llc is not None
    assert math.isfinite(validation.llc)
    assert abs(validation.llc) < 1000
    assert validation.verdict != Verdict.CONVERGED or abs(validation.llc - validation.truth) < 3 * (
        validation.stderr or 0.0
    )
