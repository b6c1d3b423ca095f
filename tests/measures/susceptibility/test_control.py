"""Susceptibilities against those at nβ = 0, on quadratics and on draws that differ by chance alone."""

import json
from dataclasses import replace

import pytest
import torch

from hf_llc.measures.susceptibility.estimate import susceptibility
from hf_llc.results.susceptibility import ControlQuality, ControlVerdict, Susceptibility
from hf_llc.sampling.loss_draws import LossDraws
from tests.measures.susceptibility.test_parts import ITEMS, chains, exact_parts, pairs

NAMES = [f"token {number}" for number in range(ITEMS)]


def at(n_beta: float, draws: LossDraws) -> LossDraws:
    """Draws of the prior, weighted to be those of the posterior at this nβ."""
    return replace(draws, log_weights=-n_beta * draws.loss_rises, n_beta=n_beta)


def of_pairs(n_beta: float, count: int = 3000) -> Susceptibility:
    heads = {f"head {seed}": at(n_beta, pairs(count, True, seed)) for seed in (1, 2)}
    return susceptibility(heads, at(n_beta, pairs(count, False, 0)), NAMES)


def quality_of(result: Susceptibility) -> ControlQuality:
    assert result.control_quality is not None
    return result.control_quality


@pytest.mark.parametrize(
    ("n_beta", "verdict"),
    [(40.0, ControlVerdict.DIFFERS), (4.0, ControlVerdict.DIFFERS), (1.0, ControlVerdict.SAME)],
)
def test_the_difference_from_the_prior_is_the_exact_one(n_beta: float, verdict: ControlVerdict) -> None:
    """Curvatures are up to 2 and γ is 60: at nβ = 1 the loss changes next to nothing in the posterior."""
    (posterior, _), (prior, _) = exact_parts(n_beta), exact_parts(0.0)
    exact = float((posterior - prior).norm() / posterior.norm())
    quality = quality_of(of_pairs(n_beta))
    assert quality.verdict is verdict
    assert quality.difference == pytest.approx(exact, rel=0.15)
    assert quality.correlation == pytest.approx(float(torch.corrcoef(torch.stack([posterior, prior]))[0, 1]), abs=0.02)
    assert f"has {quality.difference:.0%} of their size" in str(quality)


def test_draws_of_one_posterior_differ_by_chance_as_often_as_is_said() -> None:
    """Both are of nβ = 0 here. Items have their noise in common, so that half of them may lie beyond two errors."""
    chances, most = [], 0.0
    full = replace(pairs(100, False, 0).equally_weighted(), n_beta=0.0)
    for seed in range(80):
        one, other = (at(0.0, pairs(60, True, 2 * seed + place)) for place in (1, 2))
        quality = quality_of(susceptibility({"head": one}, full, NAMES, {"head": other}))
        chances.append(quality.chance)
        most = max(most, quality.beyond)
    assert sum(chance <= 0.05 for chance in chances) <= 9
    assert 24 <= sum(chance <= 0.5 for chance in chances) <= 56
    assert most > 0.3


def test_a_change_of_all_draws_is_seen() -> None:
    """The control of a prior half as wide: its covariances have a fourth of the size."""
    full = replace(pairs(400, False, 0).equally_weighted(), n_beta=0.0)
    one, other = (at(0.0, pairs(400, True, seed)) for seed in (1, 2))
    narrow = replace(other, rises=other.rises / 2, loss_rises=other.loss_rises / 2)
    quality = quality_of(susceptibility({"head": one}, full, NAMES, {"head": narrow}))
    assert quality.verdict is ControlVerdict.DIFFERS
    assert quality.difference == pytest.approx(0.75, abs=0.15)
    assert quality.chance <= 0.01


def test_noise_cannot_be_told_from_its_control() -> None:
    quality = quality_of(of_pairs(40.0, count=10))
    assert quality.verdict is ControlVerdict.NOISE
    assert quality.reason.startswith("the covariances are noise")


def test_chains_have_no_verdict_on_a_control_and_what_is_written_is_read_back() -> None:
    of_chains = susceptibility({"head": chains(100, True, 1)}, chains(100, False, 0), NAMES)
    assert of_chains.control_quality is None
    for result in (of_chains, of_pairs(4.0, count=50)):
        stored = json.loads(json.dumps(result.to_dict(), allow_nan=False))
        assert Susceptibility.from_dict(stored).control_quality == result.control_quality
        assert Susceptibility.from_dict({**stored, "control_quality": None}).control_quality is None
        del stored["control_quality"]
        assert Susceptibility.from_dict(stored).control_quality is None
