"""Every verdict, from diagnostics that call for it and from those just short of that."""

from dataclasses import replace

import pytest

from hf_llc.errors import DivergedError
from hf_llc.results import ChainSummary, DatasetRecord, Diagnostics, Estimate, Status, Verdict
from hf_llc.settings import ResolvedSettings
from hf_llc.verdicts import judge, meaning, require_number

SETTINGS = ResolvedSettings(
    n_beta=20.0, gamma=100.0, lr=1e-3, sampler="sgld", chains=4, draws=200, burn_in=50, thin=1, batch_size=32,
    micro_batch_size=32, context_length=64, n=83, seed=0, threads=1, device="cpu", dtype="float32",
)  # fmt: skip
GOOD = Diagnostics(
    r_hat=1.01, ess=300.0, delta_loss=0.5, distance=1.0, free_distance=1.0, dimension=1000, curvature=3.0,
    stability=0.2, resolution=5.0, equilibration=0.99, drift=0.5, monte_carlo_stderr=0.1, step_size_stderr=0.1,
    step_bias=0.0, cold_llc=0.0, gamma_slope=-0.5, gamma_slope_stderr=0.05, n_beta_slope=0.1,
    n_beta_slope_stderr=0.05, trace_hessian=10.0,
)  # fmt: skip
UNCHECKED = {
    "step_size_stderr": None, "step_bias": None, "cold_llc": None, "gamma_slope": None, "gamma_slope_stderr": None,
    "n_beta_slope": None, "n_beta_slope_stderr": None,
}  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "llc", "verdict", "words"),
    [
        ({}, 10.0, Verdict.CONVERGED, "R-hat 1.010, effective sample size 300"),
        (UNCHECKED, 10.0, Verdict.CONVERGED, "the step size was not checked"),
        ({"r_hat": 1.06}, 10.0, Verdict.NOT_EQUILIBRATED, "R-hat is 1.060, above 1.05: raise --draws"),
        ({"r_hat": 1.049}, 10.0, Verdict.CONVERGED, "R-hat 1.049"),
        ({"r_hat": float("nan")}, 10.0, Verdict.NOT_EQUILIBRATED, "R-hat is nan"),
        ({"r_hat": None, "ess": None, "drift": None}, 10.0, Verdict.CONVERGED, "all draws are equal"),
        ({"drift": -5.0}, 10.0, Verdict.NOT_EQUILIBRATED, "second half lies -5.0 Monte Carlo errors"),
        ({"equilibration": 0.5}, 10.0, Verdict.NOT_EQUILIBRATED, "50% of its variance"),
        ({"step_bias": 2.0, "step_size_stderr": 0.7}, 10.0, Verdict.STEP_TOO_LARGE, "lower --lr"),
        ({"step_bias": 0.9, "step_size_stderr": 0.31}, 10.0, Verdict.CONVERGED, "+0.9"),
        ({"step_bias": 2.0, "step_size_stderr": 2.0}, 10.0, Verdict.CONVERGED, "+2"),
        (
            {"step_bias": 2.0, "step_size_stderr": 0.7, "cold_llc": 2.0},
            10.0,
            Verdict.HEATED,
            "gradient noise.*--batch-size",
        ),
        ({"cold_llc": 2.0}, 10.0, Verdict.HEATED, "gradient noise alone gives 2 of"),
        ({"cold_llc": 0.9}, 10.0, Verdict.CONVERGED, "R-hat"),
        ({"cold_llc": -2.0}, 10.0, Verdict.NOT_A_MINIMUM, "w. is no minimum"),
        ({"cold_llc": 0.0}, -1.0, Verdict.NOT_A_MINIMUM, "falls away from w."),
        ({"cold_llc": 0.0}, -0.2, Verdict.CONVERGED, "R-hat"),
    ],
)  # fmt: skip
def test_the_verdict_and_its_reason(changes: dict[str, float | None], llc: float, verdict: Verdict, words: str) -> None:
    found, reason = judge(llc, 0.1, SETTINGS, replace(GOOD, **changes), failed=0)  # type: ignore[arg-type]
    assert found is verdict
    pytest.importorskip("re").search(words, reason) or pytest.fail(reason)


def test_failed_chains_are_named_and_never_converged() -> None:
    assert judge(10.0, 0.1, SETTINGS, GOOD, failed=1) == (
        Verdict.STEP_TOO_LARGE,
        "1 of 4 chains became inf or NaN and were left out",
    )
    verdict, reason = judge(None, None, SETTINGS, GOOD, failed=3)
    assert verdict is Verdict.DIVERGED
    assert reason == "3 of 4 chains became inf or NaN, so there is no number"
