"""What decides the number: `PosteriorSettings`, the localized posterior and how it is sampled."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from hf_llc.errors import SettingsError
from hf_llc.settings.bounds import Bounds, OneOf, check_fields, require
from hf_llc.settings.component import check_component
from hf_llc.settings.limits import LARGEST, LARGEST_INTEGER, LONGEST, MOST_CHAINS
from hf_llc.settings.option import Option, settings_in
from hf_llc.settings.registry import Registry

BASELINES = ("paired", "linear")
IMPORTANCE = "importance"
"""The sampler that draws independently from the localizing prior, without chains."""
CHAIN_SAMPLERS = ", ".join(["auto", *Registry[object]("hf_llc.sampling.samplers", "SAMPLER")])
"""Their names for the help, without a look into the files."""
SAMPLER_HELP = f"{CHAIN_SAMPLERS}; or importance: independent draws, without chains."
CHAIN_BATCH_SIZE = 32
FEW_CHAINS = 4
"""Chains where their number is not given and their error does not end them."""
BATCH_NORMS = ("frozen", "reestimated")
PRIORS = ("isotropic", "relative")
STARTS = ("auto", "anchor", "prior", "both", "laplace")
GAMMA_MIN = 1e-12
"""A localizing prior that reaches a million from w*: numbers of its draws would be beyond all that weights are made
for."""
STABILITY_LIMIT = 4.0
"""ε(nβh+γ) at which a step of size ε/2 along curvature h overshoots by its own length (Euler, quadratic loss)."""


@dataclass(frozen=True, kw_only=True)
class PosteriorSettings:
    """How the localized posterior p(w) ∝ exp(−nβ L_n(w) − γ/2 ‖w−w*‖²) is sampled: all that decides the number.

    With `prior=relative` the second term is −½ Σ_j γ_j ‖w_j−w*_j‖² over tensors j, γ_j = γ over the mean square of the
    weights of tensor j of w*: a draw of the prior moves each tensor by the same share 1/√γ of its size.

    Attributes:
        sampler: `importance` for independent draws, the name of a sampler of chains, or `auto`: independent draws where
            they apply and no setting of chains is given, else chains.
        n_beta: nβ, inverse temperature times n; None means n / log n (Lau et al. 2023).
        gamma: γ, the precision of the localizing prior in 1/weight²; None chooses it by how far the loss rises.
        lr: ε, the step size; None is chosen from the measured curvature.
        burn_in_lr: the step size that the burn-in begins with, from which it falls to ε; None leaves it at ε, unless ε
            was chosen small because of gradient noise.
        momentum: c in [0, 1), the share of the momentum that a step keeps, for samplers that have one; None is chosen
            from the measured curvature and gradient noise.
        start: where chains start: `anchor` at w*, `prior` (`localiser` in results and files of earlier versions) from
            a draw w* + ξ/√γ of the localizing prior, `both` half of them at w* and half from the prior, `laplace` from
            a draw w* + (γ + nβH)^(−½) ξ. `auto` is `prior` if that stays local, `both` if chains cannot forget their
            start, and `laplace` if they cannot even come down from the prior.
        gradient: `minibatch`, `control-variate`, or `auto`: minibatch gradients if their noise hardly matters.
        batches: `independent`, `reshuffled`, or `auto`: independent minibatches if their noise hardly matters.
        baseline: what a draw's loss is compared with: `paired` is the loss of the same items at w*, `linear` that
            and its slope there; `auto` is `linear` where that pays.
        chains: how many; None means 4, or as many as it takes where their error or the time ends them.
            draws: of each chain; None means 200, or about 50 if one of these ends them. There are chains × draws pairs
            of independent draws, and None leaves their number to these two. thin: steps from one draw to the next.
        burn_in: steps thrown away before the first draw; None is chosen from the relaxation time.
        batch_size: items per minibatch; None means 32, of independent draws about 1,024 tokens or 64 images.
        prior: `isotropic`, γ for every weight; or `relative`, where γ has no unit: see above. A tensor of zeros has no
            size, and stays at w*.
        batch_norm: the statistics that batch norm keeps: `frozen`, those of the checkpoint; or `reestimated`, over the
            n items at w*.
        params: only parameters that match a pattern move; none means that all do.
        component: only this part of the model moves, such as the head `l0h1` or the MLP `l0.mlp`, or several joined by
            `+`; None means all of it. `hf_llc.find_components` names them. A list separated by commas, or a kind such
            as `heads`, is for `hf_llc.estimate_components` and `hf_llc.scan_components`.
        seed: every random number derives from it.
        checks: also run short chains at ε/2, without noise, and at a larger γ.
    """

    sampler: Annotated[str, Option(help=SAMPLER_HELP, panel="Sampling", common=True)] = "auto"
    n_beta: Annotated[
        float | None,
        Bounds(low=0, high=LARGEST),
        Option(
            help="nβ, the inverse temperature times n. (default: n / log n)",
            panel="Sampling",
            common=True,
            also=("nbeta", "beta", "temperature"),
        ),
    ] = None
    gamma: Annotated[
        float | None,
        Bounds(low=GAMMA_MIN, high=LARGEST, or_zero=True),
        Option(
            help="γ, the strength of the localizing prior. (default: measured, so that the loss rises little)",
            panel="Sampling",
            common=True,
            also=("localization", "localisation"),
        ),
    ] = None
    lr: Annotated[
        float | None,
        Bounds(above=0, high=LARGEST),
        Option(
            help="ε, the step size of chains. (default: from the measured curvature)",
            panel="Sampling",
            of_chains=True,
            also=("learning_rate", "step_size", "epsilon"),
        ),
    ] = None
    burn_in_lr: Annotated[
        float | None,
        Bounds(above=0, high=LARGEST),
        Option(
            help="ε at the start of the warm-up, from which it falls to --lr. (default: --lr, or the "
            "stability limit if --lr is left out)",
            panel="Sampling",
            of_chains=True,
        ),
    ] = None
    momentum: Annotated[
        float | None,
        Bounds(low=0, below=1),
        Option(
            help="Share of momentum that a step keeps. (default: from gradient noise)", panel="Sampling", of_chains=True
        ),
    ] = None
    start: Annotated[
        str,
        OneOf(STARTS, also=("localiser",)),
        Option(
            help="Where chains start: anchor (at w*), prior (a draw of the localizing prior), both, "
            "laplace (a draw that includes the curvature) or auto.",
            panel="Sampling",
            of_chains=True,
        ),
    ] = "auto"
    gradient: Annotated[
        str,
        Option(
            help="minibatch, control-variate (less gradient noise, twice the cost) or auto.",
            panel="Sampling",
            of_chains=True,
        ),
    ] = "auto"
    batches: Annotated[
        str,
        Option(
            help="independent, reshuffled (every item once per epoch, so that gradient noise cancels) or auto.",
            panel="Sampling",
            of_chains=True,
        ),
    ] = "auto"
    baseline: Annotated[
        str,
        OneOf(("auto", *BASELINES)),
        Option(
            help="What a draw's loss is compared with: paired (the loss of the same items at w*), "
            "linear (with its slope: less noise, a third of a step more per draw) or auto.",
            panel="Sampling",
            of_chains=True,
        ),
    ] = "auto"
    chains: Annotated[
        int | None,
        Bounds(low=2, high=MOST_CHAINS, why="one chain cannot show that it disagrees with another"),
        Option(
            help="Independent chains; fewer than 4 are never called converged. (default: 4; with "
            "--target-stderr or --budget as many short ones as needed)",
            panel="Sampling",
            common=True,
            also=("num_chains", "n_chains"),
        ),
    ] = None
    draws: Annotated[
        int | None,
        Bounds(low=4, high=LONGEST, why="fewer have no Monte Carlo error"),
        Option(
            help="Draws per chain. (default: 200; about 50 with --target-stderr or --budget; with "
            "importance as many as needed)",
            panel="Sampling",
            common=True,
            also=("num_draws", "n_draws", "num_samples", "n_samples"),
        ),
    ] = None
    burn_in: Annotated[
        int | None,
        Bounds(low=0, high=LONGEST),
        Option(
            help="Warm-up: steps of a chain before its first draw. (default: from the relaxation time)",
            panel="Sampling",
            of_chains=True,
            also=("num_burnin_steps", "burnin", "warmup", "warm_up", "warmup_steps"),
        ),
    ] = None
    thin: Annotated[
        int,
        Bounds(low=1, high=LONGEST),
        Option(
            help="Steps from one draw to the next.",
            panel="Sampling",
            of_chains=True,
            also=("num_steps_bw_draws", "thinning"),
        ),
    ] = 1
    batch_size: Annotated[
        int | None,
        Bounds(low=1, high=LONGEST),
        Option(
            help="Sequences, images or other items per minibatch. (default: 32; with importance 1,024 tokens or 64 "
            "images)",
            panel="Sampling",
        ),
    ] = None
    prior: Annotated[
        str,
        OneOf(PRIORS),
        Option(
            help="Localizing prior: isotropic, or relative, which moves each tensor by the same share 1/√γ of its root "
            "mean square weight.",
            panel="Sampling",
        ),
    ] = "isotropic"
    batch_norm: Annotated[
        str,
        OneOf(BATCH_NORMS),
        Option(
            help="Statistics of batch norm: frozen (those of the checkpoint) or reestimated (over the n items at w*).",
            panel="Sampling",
        ),
    ] = "frozen"
    params: Annotated[
        tuple[str, ...],
        Option(
            help="Move only parameters that match this glob or re:REGEX (repeatable): the weight-refined LLC.",
            panel="Sampling",
        ),
    ] = ()
    component: Annotated[
        str | None,
        Option(
            help="Move only this part of the model, such as l0h1 (a head), l0.mlp or embed: the weight-refined LLC. "
            "Joined by + several move together; a list separated by commas, or heads, mlps or layers, moves one at a "
            "time.",
            panel="Sampling",
            metavar="NAME",
        ),
    ] = None
    seed: Annotated[
        int, Bounds(low=0, high=LARGEST_INTEGER), Option(help="Seed of every random number.", panel="Sampling")
    ] = 0
    checks: Annotated[
        bool,
        Option(
            help="Run short sensitivity chains too: at ε/2, without noise, and at a larger γ.",
            panel="Sampling",
            negative="--no-checks",
        ),
    ] = True

    @property
    def chain_count(self) -> int:
        """Chains, or groups of independent draws; where chains come in rounds they are more in the end."""
        return FEW_CHAINS if self.chains is None else self.chains

    @property
    def chain_batch_size(self) -> int:
        """Sequences of a chain's minibatch."""
        return CHAIN_BATCH_SIZE if self.batch_size is None else self.batch_size

    @property
    def by_draws(self) -> bool:
        """True if independent draws are asked for in place of chains."""
        return self.sampler == IMPORTANCE

    @property
    def side_by_side(self) -> int:
        """Chains, or makers of independent draws, that are expected to share the cores of a machine.

        Rounding depends on the threads of each, and independent draws do not depend on how many are asked for.
        """
        return FEW_CHAINS if self.by_draws else self.chain_count

    @property
    def without_use(self) -> list[str]:
        """Settings that were given and that this sampler has no use for."""
        default = PosteriorSettings()
        return [name for name in OF_CHAINS if self.by_draws and getattr(self, name) != getattr(default, name)]

    def __post_init__(self) -> None:
        check_fields(self)
        if self.component is not None:
            check_component(self.component)
        require(
            not (self.component and self.params),
            f"component and params exclude each other, got {self.component} and {' '.join(self.params)}.",
        )
        if self.start == "prior":
            object.__setattr__(self, "start", "localiser")  # as results and run folders have it
        require(
            self.gamma != 0 or self.start in {"auto", "anchor"},
            f"start must be anchor with gamma 0, where there is no localizing prior to draw from, got {self.start}.",
        )
        if self.lr is not None and self.gamma is not None and self.lr * self.gamma >= STABILITY_LIMIT:
            raise SettingsError(
                f"lr times gamma must be < {STABILITY_LIMIT:g}, the stability limit of the localizing "
                f"prior alone, got {self.lr * self.gamma:g}; lower `lr` below "
                f"{STABILITY_LIMIT / self.gamma:.3g}."
            )


DEFAULTS_OF_EARLIER = {"prior": "isotropic", "batch_norm": "frozen", "component": None}
"""Settings of the posterior that earlier versions had not, as they were then: no part of a run's key."""
OF_CHAINS = tuple(each.name for each in settings_in(PosteriorSettings) if each.option.of_chains)
CHAINS_ONLY = (*OF_CHAINS, "batched_chains")
"""Settings of a result that independent draws have no use for, those of earlier versions included."""


def has_length(settings: Mapping[str, Any]) -> bool:
    """False for settings of a result whose items are no text: it records a context length of 1, which nobody can ask
    for."""
    return settings.get("context_length") != 1


def as_in_earlier(settings: Mapping[str, Any]) -> tuple[str, ...]:
    """Names of those settings of the posterior that earlier versions had not and that are as they were then."""
    return tuple(name for name, value in DEFAULTS_OF_EARLIER.items() if settings.get(name) == value)


def of_no_use(settings: Mapping[str, Any]) -> tuple[str, ...]:
    """Names of those in a result's settings that nobody need ask for to have its number again: of independent draws all
    that chains alone have, and how many there are where that follows from the error that they were to have."""
    if settings.get("sampler") != IMPORTANCE:
        return ()
    return CHAINS_ONLY if settings.get("target_stderr") is None else (*CHAINS_ONLY, "draws")
