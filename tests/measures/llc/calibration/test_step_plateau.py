"""The step size that is chosen from λ̂ at several of them, and the reason."""

import math

from hf_llc.measures.llc.calibration.step_plateau import find_step_plateau
from hf_llc.results.calibration import StepPoint


def step(lr: float, change: float = 0.0, error: float = 0.01, *, agrees: bool = True, excluded: str = "") -> StepPoint:
    """λ̂ = 10 (1 + change) at a step whose stability limit is 0.004."""
    return StepPoint(
        lr=lr,
        stability=1000 * lr,
        llc=10 * (1 + change),
        stderr=0.1,
        excluded=excluded or None,
        log_ratio=math.log(1 + change),
        log_ratio_stderr=error,
        agrees=agrees and not excluded,
    )


def test_the_largest_step_that_agrees_and_is_suggested_is_taken() -> None:
    points = [step(1e-4), step(2e-4, 0.01), step(4e-4, -0.02), step(8e-4, 0.2, agrees=False)]
    assert find_step_plateau(points, 4e-4)[0] == 4e-4
    assert find_step_plateau(points, 2e-4)[0] == 2e-4
    lr, reason = find_step_plateau(points, 8e-4)
    assert lr == 4e-4
    assert "same from ε = 0.0001 to 0.0004 within errors of 1.0%" in reason
    assert "unstable from 0.004" in reason
    assert "At 0.0008 it differs by +20.0% ± 1.0%" in reason


def test_a_dependence_from_the_smallest_step_on_takes_it() -> None:
    lr, reason = find_step_plateau([step(1e-4), step(2e-4, 0.3, agrees=False), step(4e-4, 0.5, agrees=False)], 2e-4)
    assert lr == 1e-4
    assert "depends on the step size over the whole range" in reason
    assert "(+30.0% ± 1.0% from the smallest to the next)" in reason


def test_steps_that_do_not_count_are_not_compared() -> None:
    points = [step(1e-4, 3.0, excluded="not equilibrated: x"), step(2e-4), step(4e-4, 0.01)]
    lr, reason = find_step_plateau(points, 4e-4)
    assert lr == 4e-4
    assert "same from ε = 0.0002 to 0.0004" in reason


def test_the_suggested_step_is_used_if_fewer_than_two_are_valid() -> None:
    points = [step(1e-4, excluded="not equilibrated: x"), step(2e-4)]
    lr, reason = find_step_plateau(points, 3e-4)
    assert lr == 3e-4
    assert "do not show whether λ̂ depends on the step size (not equilibrated: x)" in reason


def test_errors_that_could_hide_a_dependence_are_said() -> None:
    _, reason = find_step_plateau([step(1e-4), step(2e-4, 0.1, error=0.15)], 2e-4)
    assert "within errors of 15.0%, which could hide a large bias: raise `pilot_draws`" in reason
