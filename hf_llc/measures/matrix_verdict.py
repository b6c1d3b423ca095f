"""Numbers to words for matrices of covariances: are their entries more than noise?"""

import math

import numpy

from hf_llc.measures.llc.draws.verdict import TAIL_MAX
from hf_llc.results.matrix import BY_CHANCE, FAR, Matrix, MatrixQuality, MatrixVerdict

SIGNAL_MIN = 0.5
"""Share of the entries' variance that must not be noise, lest most of what one sees is."""
SIGNAL_RESOLVED = 0.9
"""And from which on differences between entries can be read off."""
EFFECTIVE_MIN = 16.0
"""Effective draws below which errors are not known."""
AGREEMENT_MIN = 30
"""Entries below which the correlation of two halves is itself mostly chance."""
SIGNIFICANT_MIN = 0.5
"""Share of significant entries from which on a matrix is more than noise although its entries are much alike."""
TWICE = 2.0
"""Times the stated errors beyond which halves of the draws differ by more than chance."""
FEW_MORE = 1000.0
"""Times the draws beyond which more of them are no advice."""


def judge_matrix(
    values: Matrix,
    errors: Matrix,
    *,
    effective: float,
    pareto_k: float | None = None,
    halves: tuple[Matrix, Matrix] | None = None,
) -> MatrixQuality:
    """The verdict on entries with these errors, all of shape (entries,).

    Twice the draws leave half the noise, so that a correlation r of the entries of two halves says that 2r/(1 + r) of
    the variance of the entries is no noise (Spearman 1910, Brown 1910); their errors say it once more. The worse of the
    two counts.

    Args:
        halves: the values from two halves of the draws, in units of `values`.
    """
    # That of an item and its copy is exact; an entry that is 0 without an error belongs to an item that never varies.
    known = (errors > 0) | ((errors == 0) & (values != 0))
    understated = _understated(errors, halves)
    limits = FAR * understated * errors[known]
    significant = float((numpy.abs(values[known]) > limits).mean()) if known.any() else 0.0
    variance = float(values.var()) if values.size > 1 else float((values**2).mean())
    signal = 1 - float((errors**2).mean()) / variance if variance > 0 else 0.0
    agreement = _agreement(halves)
    shares = [signal] + ([] if agreement is None else [2 * agreement / (1 + agreement) if agreement > 0 else 0.0])
    share = min(shares)
    reasons = [_signal_sentence(share, values.size, effective), _far_sentence(significant, understated)]
    if agreement is not None:
        reasons.append(f"halves of the draws agree to r = {agreement:.2f}")
    verdict = MatrixVerdict.PARTLY_RESOLVED
    if weakness := weakness_of(effective, pareto_k):
        verdict = MatrixVerdict.NOISE
        reasons.insert(0, weakness)
    elif not (share >= SIGNAL_MIN or significant >= SIGNIFICANT_MIN):
        verdict = MatrixVerdict.NOISE
    elif share >= SIGNAL_RESOLVED:
        verdict = MatrixVerdict.RESOLVED
    if verdict is not MatrixVerdict.RESOLVED and (advice := _advice(share)):
        reasons.append(advice)
    return MatrixQuality(
        verdict=verdict,
        reason="; ".join(reasons),
        entries=values.size,
        effective=effective,
        signal=signal,
        agreement=agreement,
        significant=significant,
        pareto_k=pareto_k,
    )


def weakness_of(effective: float, pareto_k: float | None) -> str | None:
    """Why draws say nothing, with errors that are not to be relied on either; None if they do."""
    if pareto_k is not None and not pareto_k <= TAIL_MAX:
        return f"the weights of the draws have too long a tail (k = {pareto_k:.2f}): sample chains"
    if not effective >= EFFECTIVE_MIN:
        return f"{effective:.0f} effective draws, where {EFFECTIVE_MIN:.0f} are needed"
    return None


def _understated(errors: Matrix, halves: tuple[Matrix, Matrix] | None) -> float:
    """How many times larger errors are by the difference of the halves, whose variance is four times that of the whole;
    1 where chance explains it."""
    stated = math.sqrt(float((errors**2).mean()))
    if halves is None or errors.size < AGREEMENT_MIN or stated == 0:
        return 1.0
    times = math.sqrt(float(((halves[0] - halves[1]) ** 2).mean())) / 2 / stated
    return times if times > TWICE else 1.0


def _agreement(halves: tuple[Matrix, Matrix] | None) -> float | None:
    if halves is None or halves[0].size < AGREEMENT_MIN or not all(half.std() > 0 for half in halves):
        return None
    return float(numpy.corrcoef(halves[0], halves[1])[0, 1])


def _signal_sentence(share: float, entries: int, effective: float) -> str:
    noise = f"{1 - max(0.0, share):.0%} of the variance of {entries} {'entry' if entries == 1 else 'entries'} is noise"
    return f"{noise} with {effective:.0f} effective draws"


def _far_sentence(significant: float, understated: float) -> str:
    places = 1 if significant < 0.1 else 0
    larger = f" {understated:.2g} times as large as stated, as halves of the draws differ" if understated > 1 else ""
    return f"{significant:.{places}%} lie more than {FAR:g} errors{larger} from 0, {BY_CHANCE:.1%} would by chance"


def _advice(share: float) -> str:
    """How many times the draws bring the share to where it counts as resolved."""
    if not share > 0:
        return ""
    times = (1 - share) / share * SIGNAL_RESOLVED / (1 - SIGNAL_RESOLVED)
    return f"about {math.ceil(times)} times the draws would resolve it" if 1 < times < FEW_MORE else ""
