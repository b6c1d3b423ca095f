"""How much the losses of single items vary under the posterior: what `measures.fluctuation` says."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Self

from hf_llc.results.estimate import jsonable
from hf_llc.results.views import with_error
from hf_llc.settings.typed import build


@dataclass(frozen=True, kw_only=True)
class Fluctuation:
    """Singular fluctuation and WAIC at the inverse temperature β = nβ/n, the losses of items taken as −log p(x_i|w).

    Attributes:
        functional_variance: V = Σ Var[ℓ_i] over n items, no unit: n times the mean over the items there are. Its error
            includes which items these are, unless they are n.
        singular_fluctuation: ν(β) = βV/2, no unit: d/2 of a regular model of d weights.
        bayes_loss: −mean log E[p(x_i|w)], of the posterior's predictive distribution, in `unit`.
        gibbs_loss: mean E[ℓ_i], in `unit`. loss: mean ℓ_i(w*), in `unit`.
        waic: bayes_loss + βV/n, what `bayes_loss` of new data is on average up to terms in 1/n², in `unit`.
        effective: draws, or pairs of them, that the draws are worth for V. pareto_k: see `sampling.averages`.
        items: how many losses there are. n_beta, gamma, n: of the posterior.
        warning: why neither these numbers nor their errors are to be relied on; None if they are.
        unit: of losses: that of the task, such as nats per token for the mean over the tokens of a sequence.
    """

    functional_variance: float
    functional_variance_stderr: float
    singular_fluctuation: float
    singular_fluctuation_stderr: float
    bayes_loss: float
    bayes_loss_stderr: float
    gibbs_loss: float
    gibbs_loss_stderr: float
    waic: float
    waic_stderr: float
    loss: float
    effective: float
    pareto_k: float | None
    items: int
    n_beta: float
    gamma: float
    n: int
    warning: str | None = None
    unit: str = "nats per item"

    @property
    def beta(self) -> float:
        """β = nβ/n."""
        return self.n_beta / self.n

    def __str__(self) -> str:
        fluctuation = with_error(self.singular_fluctuation, self.singular_fluctuation_stderr)
        waic = with_error(self.waic, self.waic_stderr)
        return _warned(f"ν(β) = {fluctuation}, WAIC = {waic} {self.unit}", self.warning)

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready mapping; non-finite numbers become None."""
        return {key: jsonable(value) for key, value in asdict(self).items()}

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> Self:
        """The numbers that `to_dict` wrote; raise DamagedError if they are others."""
        return build(cls, stored, "fluctuation", nan_in=cls)


@dataclass(frozen=True, kw_only=True)
class LossGain:
    """nβ times the mean rise over some items from w* to draws of the posterior, and its standard error; no unit.

    Over all items of L_n it is λ̂. It is not the learning coefficient of those items, whose posterior is that of their
    own loss.

    Attributes:
        warning: why neither the number nor its error is to be relied on; None if they are.
    """

    value: float
    stderr: float
    items: int
    warning: str | None = None

    def __str__(self) -> str:
        return _warned(f"loss gain on {self.items} items: {with_error(self.value, self.stderr)}", self.warning)


def _warned(text: str, warning: str | None) -> str:
    return text if warning is None else f"{text} (not to be relied on: {warning})"
