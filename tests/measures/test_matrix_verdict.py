"""When the entries of a matrix may be read."""

import re

import numpy
import pytest

from hf_llc.measures.matrix_verdict import judge_matrix
from hf_llc.results.matrix import MatrixQuality, MatrixVerdict

ENTRIES = 400


def quality(
    signal: float, noise: float, *, offset: float = 0.0, stated: float | None = None, **changes: float
) -> MatrixQuality:
    """Of entries with this spread and true error; halves have √2 times the error each."""
    stream = numpy.random.default_rng(0)
    truth = offset + signal * stream.normal(size=ENTRIES)
    halves = [truth + 2**0.5 * noise * stream.normal(size=ENTRIES) for _ in range(2)]
    errors = numpy.full(ENTRIES, noise if stated is None else stated)
    return judge_matrix(
        (halves[0] + halves[1]) / 2, errors, effective=changes.get("effective", 100.0),
        pareto_k=changes.get("pareto_k"), halves=(halves[0], halves[1]),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("signal", "noise", "verdict"),
    [
        (1.0, 0.1, MatrixVerdict.RESOLVED),
        (1.0, 0.6, MatrixVerdict.PARTLY_RESOLVED),
        (1.0, 2.0, MatrixVerdict.NOISE),
        (0.0, 1.0, MatrixVerdict.NOISE),
    ],
)
def test_the_verdict_is_by_how_much_is_noise(signal: float, noise: float, verdict: MatrixVerdict) -> None:
    assert quality(signal, noise).verdict is verdict


def test_the_stated_errors_and_the_halves_say_the_same_of_the_signal() -> None:
    result = quality(1.0, 0.5)
    assert result.agreement is not None
    assert result.signal == pytest.approx(0.8, abs=0.05)
    assert 2 * result.agreement / (1 + result.agreement) == pytest.approx(0.8, abs=0.05)


def test_errors_that_are_stated_too_small_are_seen_by_the_halves() -> None:
    assert quality(1.0, 2.0, stated=0.01).verdict is MatrixVerdict.NOISE
    assert "halves of the draws agree to r = 0." in quality(1.0, 2.0, stated=0.01).reason


def test_errors_that_the_halves_make_larger_are_said_to_be() -> None:
    understated, stated = quality(1.0, 0.1, stated=0.02), quality(1.0, 0.1)
    assert re.search(r"lie more than 3 errors [45](\.\d)? times as large as stated, as halves", understated.reason)
    assert understated.significant == pytest.approx(stated.significant, abs=0.05)
    assert " lie more than 3 errors from 0, 0.3% would by chance" in stated.reason


def test_entries_much_alike_are_partly_resolved() -> None:
    assert quality(0.05, 0.1, offset=1.0).verdict is MatrixVerdict.PARTLY_RESOLVED


def test_few_draws_and_heavy_weights_are_noise_and_named_first() -> None:
    few, heavy = quality(1.0, 0.1, effective=5.0), quality(1.0, 0.1, pareto_k=0.9)
    assert (few.verdict, heavy.verdict) == (MatrixVerdict.NOISE, MatrixVerdict.NOISE)
    assert few.reason.startswith("5 effective draws, where 16 are needed")
    assert heavy.reason.startswith("the weights of the draws have too long a tail (k = 0.90): sample chains")


def test_the_advice_is_how_many_draws_resolve_it() -> None:
    """A third of the variance is noise, which nine times as much signal would make a tenth: 9 · 0.5 = 4.5 times."""
    reason = judge_matrix(numpy.array([-1.0, 1.0] * 20), numpy.full(40, (1 / 3) ** 0.5), effective=50.0).reason
    assert "33% of the variance of 40 entries is noise with 50 effective draws" in reason
    assert reason.endswith("about 5 times the draws would resolve it")


def test_few_entries_are_judged_by_their_errors_alone() -> None:
    result = judge_matrix(
        numpy.array([0.0, 1.0, 2.0]), numpy.full(3, 0.1), effective=50.0,
        halves=(numpy.array([0.0, 1.0, 2.0]), numpy.array([2.0, 1.0, 0.0])),
    )  # fmt: skip
    assert result.agreement is None
    assert result.verdict is MatrixVerdict.RESOLVED


def test_entries_without_any_spread_are_noise() -> None:
    assert judge_matrix(numpy.zeros(40), numpy.zeros(40), effective=50.0).verdict is MatrixVerdict.NOISE


def test_a_correlation_of_exactly_1_counts_as_more_than_chance_and_a_constant_does_not() -> None:
    judged = judge_matrix(numpy.array([1.0]), numpy.array([0.0]), effective=100.0)
    assert judged.significant == 1.0
    assert "of the variance of 1 entry is noise" in judged.reason
    both = judge_matrix(numpy.array([1.0, 0.0, 0.1]), numpy.array([0.0, 0.0, 1.0]), effective=100.0)
    assert both.significant == 0.5
