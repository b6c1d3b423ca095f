"""24 deep linear nets with label noise and minibatches: how far λ̂ is from the exact coefficient, and what it says."""

from hf_llc.measures.llc.validation.validate import Validation, validate
from tests.benchmarks.panel import Net, nets

MEAN, WORST, COVERAGE = 0.02, 0.05, 0.95


def relative_error(validation: Validation) -> float:
    """|λ̂ − λ| / λ; infinite without a number."""
    return abs(validation.llc - validation.truth) / validation.truth if validation.llc is not None else float("inf")


def line(net: Net, validation: Validation) -> str:
    """A row of the table that is printed."""
    estimate = "no number" if validation.llc is None else f"{validation.llc:.1f} ± {validation.stderr:.1f}"
    return (
        f"{net.name}, {net.size:,} weights: λ = {validation.truth:.1f}, λ̂ = {estimate} "
        f"({relative_error(validation):.1%}), {validation.verdict}, "
        f"{validation.gradient_evaluations:,} gradients, {validation.seconds:.0f} s"
    )


def test_the_panel_is_within_its_bounds_and_what_misses_is_not_called_converged() -> None:
    results = []
    print()
    for net in nets():
        results.append(validate(net.case(), net.effort()))
        print(line(net, results[-1]), flush=True)
    errors = [relative_error(each) for each in results]
    converged = [each for each in results if each.verdict == "converged"]
    covered = [abs(each.error_in_stderr or 0.0) <= 3 for each in converged]
    mean, worst = sum(errors) / len(errors), max(errors)
    print(f"mean |error| {mean:.2%}, worst {worst:.2%}; {len(converged)} of {len(results)} converged, ", end="")
    print(f"{sum(covered)} of them within 3 standard errors")
    assert mean <= MEAN
    assert worst <= WORST
    assert len(converged) >= len(results) / 2
    assert sum(covered) >= COVERAGE * len(converged)
    assert all(relative_error(each) <= WORST for each in converged)
