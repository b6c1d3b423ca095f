"""A deep linear net, whose coefficient is known exactly, through the very chain code that language models use."""

from hf_llc.measures.llc.validation.exact import deep_linear_llc
from hf_llc.measures.llc.validation.problems import deep_linear
from tests.helpers.chains import llc_statistics, settings


def test_deep_linear_net_at_aligned_factors_has_its_exact_coefficient() -> None:
    """λ = 7.5 for widths 4, 4, 4 and rank 2, at a resolution γ/nβ of 3e-5."""
    chosen = settings(n_beta=1e5, gamma=3.0, lr=1e-5, burn_in=2000, draws=5000, dtype="float32")
    statistics = llc_statistics(deep_linear((4, 4, 4), 2), chosen)
    truth = deep_linear_llc((4, 4, 4), 2)

    assert statistics.mcse < 0.03 * truth
    assert abs(statistics.mean - truth) < 3 * statistics.mcse


def test_what_a_finite_temperature_leaves_out_shrinks_with_the_resolution() -> None:
    """At resolutions of 3e-2 and 3e-3 the estimate falls short of λ by more than its error, less at the finer one.

    The shortfall halves with each factor of ten, so that at the 3e-5 of the test above it is near 0.1, 1.4 % of λ and
    below the 3 % that the test allows its standard error.
    """
    short = []
    for n_beta, lr in ((1e3, 5e-4), (1e4, 5e-5)):
        chosen = settings(n_beta=n_beta, gamma=30.0, lr=lr, burn_in=1000, draws=3000, dtype="float32")
        statistics = llc_statistics(deep_linear((4, 4, 4), 2), chosen)
        assert statistics.mcse < 0.12
        short.append(7.5 - statistics.mean)
    assert short[0] > 0.6
    assert 0.3 < short[1] / short[0] < 0.7
