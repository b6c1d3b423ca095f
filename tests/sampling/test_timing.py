"""A chain that is timed has the numbers of one that is not."""

import pytest
import torch

from hf_llc.measures.llc.validation.problems import quadratic
from hf_llc.results.profile import Profile
from hf_llc.sampling.chain import run_chain
from hf_llc.sampling.gradients import full_gradient
from hf_llc.sampling.jumps import NODES
from hf_llc.sampling.samplers import SAMPLERS
from hf_llc.sampling.variations import VARIATIONS
from tests.helpers.chains import settings


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_the_numbers_are_those_of_a_chain_that_is_not_timed(sampler: str) -> None:
    chosen = settings(sampler=sampler, draws=20, burn_in=5, start="localiser")
    plain = run_chain(quadratic([1.0, 3.0]), torch.zeros(1), chosen, 0)
    profile = Profile()
    timed = run_chain(quadratic([1.0, 3.0]), torch.zeros(1), chosen, 0, part=profile.part)
    assert timed == plain
    record = profile.to_dict()
    assert min(record[name] for name in ("data", "forward_backward", "update", "noise")) > 0


def test_a_second_look_within_a_step_is_the_models_work_and_no_update() -> None:
    chosen = settings(gradient="control-variate", draws=20, burn_in=5)
    calls: list[str] = []
    profile = Profile(clock=lambda: float(len(calls)))

    def part(name: str):  # type: ignore[no-untyped-def]
        calls.append(name)
        return profile.part(name)

    objective = quadratic([1.0, 3.0])
    slope = full_gradient(objective, 1)
    plain = run_chain(objective, torch.zeros(1), chosen, 0, anchor_gradient=slope)
    assert run_chain(objective, torch.zeros(1), chosen, 0, anchor_gradient=slope, part=part) == plain
    # Two gradients a step, and the loss after the last one.
    assert calls.count("forward_backward") == 2 * chosen.steps + 1 + NODES + 1
    assert calls.count("update") == chosen.steps


@pytest.mark.parametrize("variation", VARIATIONS, ids=lambda variation: variation.name)
def test_a_varied_chain_keeps_its_numbers(variation) -> None:  # type: ignore[no-untyped-def]
    main = settings(draws=20, burn_in=5)
    chosen = variation.settings(main)
    plain = run_chain(quadratic([1.0]), torch.zeros(1), chosen, 0, variation=variation)
    part = Profile().part
    assert run_chain(quadratic([1.0]), torch.zeros(1), chosen, 0, variation=variation, part=part) == plain
