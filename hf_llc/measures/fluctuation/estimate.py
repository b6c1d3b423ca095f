"""Functional variance, singular fluctuation, WAIC, and the loss gain of some items, from draws of one posterior.

At the inverse temperature β, with −log p(x_i|w) = ℓ_i(w) (Watanabe 2010, Journal of Machine Learning Research 11):

    V = Σ Var_w[log p(x_i|w)],   ν(β) = lim (β/2) E[V],   T = −(1/n) Σ log E_w[p(x_i|w)],   WAIC = T + (β/n) V

and E[WAIC] is the mean of the predictive distribution's loss on new data up to terms in 1/n². The posterior here has
nβ L_n = β Σ ℓ_i, so that β = nβ/n, and is localized besides, which makes ν less where γ is not far below nβ times the
curvatures.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from hf_llc.measures.matrix_verdict import weakness_of
from hf_llc.results.fluctuation import Fluctuation, LossGain
from hf_llc.sampling.averages import Averages
from hf_llc.sampling.covariance import covariance_with
from hf_llc.sampling.loss_draws import LossDraws


def fluctuation(draws: LossDraws) -> Fluctuation:
    """ν(β), WAIC and what they are made of, with their errors."""
    averages, rises, beta = Averages(draws), draws.rises.double(), draws.n_beta / draws.n
    loss = float(draws.anchors.double().mean())
    variance = covariance_with(averages, rises, rises)
    of_variance = variance.influence.mean(-1)
    predictive, of_predictive = _log_predictive(averages, rises)
    bayes_loss, gibbs_loss = loss - float(predictive.mean()), loss + float(averages.expectation(rises).mean())
    influences = (of_variance, -of_predictive, rises.mean(-1), beta * of_variance - of_predictive)
    errors = [_stderr(averages, influence) for influence in influences]
    spread = _stderr_of_choice(variance.value, draws.n)
    total = draws.n * float(variance.value.mean())
    error = draws.n * math.hypot(errors[0], spread)
    effective = averages.effective(averages.autocorrelation(of_variance[..., None]))
    return Fluctuation(
        functional_variance=total,
        functional_variance_stderr=error,
        singular_fluctuation=beta / 2 * total,
        singular_fluctuation_stderr=beta / 2 * error,
        bayes_loss=bayes_loss,
        bayes_loss_stderr=errors[1],
        gibbs_loss=gibbs_loss,
        gibbs_loss_stderr=errors[2],
        waic=bayes_loss + beta * float(variance.value.mean()),
        waic_stderr=errors[3],
        loss=loss,
        effective=effective,
        pareto_k=averages.pareto_k,
        items=draws.items,
        n_beta=draws.n_beta,
        gamma=draws.gamma,
        n=draws.n,
        warning=weakness_of(effective, averages.pareto_k),
    )


def loss_gain(draws: LossDraws, items: Sequence[int] | None = None) -> LossGain:
    """nβ times the mean rise of these items' losses, of all where none are named.

    Raises:
        ValueError: no item is named, or one that there is not.
    """
    chosen = range(draws.items) if items is None else items
    if not chosen or not all(0 <= item < draws.items for item in chosen):
        raise ValueError(f"items must be at least one of 0 to {draws.items - 1}, got {list(chosen)[:8]}")
    averages = Averages(draws)
    rises = draws.n_beta * draws.rises[..., list(chosen)].double().mean(-1)
    effective = averages.effective(averages.autocorrelation(rises[..., None]))
    return LossGain(
        value=float(averages.expectation(rises)),
        stderr=_stderr(averages, rises),
        items=len(chosen),
        warning=weakness_of(effective, averages.pareto_k),
    )


def _stderr(averages: Averages, values: Tensor) -> float:
    """The standard error of the mean of values of shape (groups, draws)."""
    return float(averages.stderr(averages.influence(values)[..., None]))


def _log_predictive(averages: Averages, rises: Tensor) -> tuple[Tensor, Tensor]:
    """log E[e^(−rise)] of each item, and the influence on their mean.

    The logarithm of a mean is too small by half the mean's relative variance on average, which is put back: at small β
    that is as much as βV/n.
    """
    logs = averages.weights.log()[..., None] - rises
    plain = torch.logsumexp(logs.flatten(0, 1), dim=0)
    ratios = torch.exp(-rises - plain)
    variance = covariance_with(averages, ratios, ratios).of_means
    return plain + (averages.expectation(ratios) - 1) + variance / 2, ratios.mean(-1)


def _stderr_of_choice(values: Tensor, n: int) -> float:
    """What the choice of these items out of n makes of their mean (Cochran 1977, eq. 2.20)."""
    count = len(values)
    if count >= n:
        return 0.0
    return math.sqrt(float(values.var()) * (1 / count - 1 / n)) if count > 1 else math.inf
