"""How λ̂ is sampled: `SamplerSettings`. None means chosen from measurement; what was chosen is a `ResolvedSettings`."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from hf_llc.errors import SettingsError
from hf_llc.settings.bounds import Bounds, OneOf, check_fields, require
from hf_llc.settings.limits import LARGEST, LARGEST_INTEGER, LONGEST, MOST_CHAINS, MOST_THREADS
from hf_llc.settings.option import Option
from hf_llc.settings.registry import Registry

DTYPES = ("float32", "bfloat16")
BASELINES = ("paired", "linear")
CROSS_CHECKS = ("lanczos", "draws", "sgld")
IMPORTANCE = "importance"
"""The sampler that draws independently from the localizing prior, without chains."""
OF_CHAINS = (
    "lr", "burn_in_lr", "momentum", "start", "gradient", "batches", "baseline", "burn_in", "thin",
)  # fmt: skip
"""Settings that say how a chain walks: independent draws have no use for them."""
CHAINS_ONLY = (*OF_CHAINS, "batched_chains")
"""Settings of a result that independent draws have no use for, those of earlier versions included."""


def of_no_use(settings: Mapping[str, Any]) -> tuple[str, ...]:
    """Names of those in a result's settings that nobody need ask for to have its number again: of independent draws all
    that chains alone have, and how many there are where that follows from the error that they were to have."""
    if settings.get("sampler") != IMPORTANCE:
        return ()
    return CHAINS_ONLY if settings.get("target_stderr") is None else (*CHAINS_ONLY, "draws")


CHAIN_SAMPLERS = ", ".join(["auto", *Registry[object]("hf_llc.sampling.samplers", "SAMPLER")])
"""Their names for the help, without a look into the files."""
SAMPLER_HELP = f"{CHAIN_SAMPLERS}; or importance: independent draws, without chains."
CHAIN_DRAWS, CHAIN_BATCH_SIZE = 200, 32
TARGET_STDERR = 0.05
FEW_CHAINS = 4
"""Chains where their number is left open and their error does not end them."""
SHORT_DRAWS = 50
"""Draws of a chain where rounds add chains: sixteen such chains have as many as FEW_CHAINS of CHAIN_DRAWS."""
MAX_CHAINS = 256
"""Chains up to which rounds add some: as many draws as 64 of CHAIN_DRAWS."""
STARTS = ("auto", "anchor", "localiser", "both", "laplace")
GAMMA_MIN = 1e-12
"""A localiser that reaches a million from w*: numbers of its draws would be beyond all that weights are made for."""
STABILITY_LIMIT = 4.0
"""ε(nβh+γ) at which a step of size ε/2 along curvature h overshoots by its own length (Euler, quadratic loss)."""


@dataclass(frozen=True, kw_only=True)
class SamplerSettings:
    """How the localized posterior p(w) ∝ exp(−nβ L_n(w) − γ/2 ‖w−w*‖²) is sampled.

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
        start: where chains begin: `anchor` is w* itself, `localiser` a draw w* + ξ/√γ from the localizing prior, `both`
            the one and the other by turns, `laplace` a draw w* + (γ + nβH)^(−½) ξ. `auto` is `localiser` if that stays
            local, `both` if chains cannot forget their start, and `laplace` if they cannot even come down from it.
        gradient: `minibatch`, `control-variate`, or `auto`: minibatch gradients if their noise hardly matters.
        batches: `independent`, `reshuffled`, or `auto`: independent minibatches if their noise hardly matters.
        baseline: what a draw's loss is compared with: `paired` is the loss of the same sequences at w*, `linear` that
            and its slope there; `auto` is `linear` where that pays.
        chains: how many; None means 4, or as many as it takes if `target_stderr` or `budget_seconds` ends them.
            draws: of each chain; None means 200, or about 50 if one of these ends them. There are chains × draws pairs
            of independent draws, and None leaves their number to these two. thin: steps from one draw to the next.
        burn_in: steps thrown away before the first draw; None is chosen from the relaxation time.
        batch_size: sequences per minibatch; None means 32, of independent draws about 1,024 tokens.
        micro_batch_size: sequences per forward pass, which changes memory only.
        dtype: `float32` or `bfloat16`, in which losses and gradients are computed; weights and updates are float32.
        params: only parameters that match a pattern move; none means that all do.
        seed: every random number derives from it.
        checks: also run short chains at ε/2, without noise, and at a larger γ.
        cross_check: the number in another way: `lanczos` from the quadratic part of the loss without sampling, `draws`
            from independent draws beside chains, `sgld` from a few short chains of plain SGLD beside independent draws.
        threads: CPU threads per process; None means cores divided by chains, so that 1 and N processes agree.
        devices_per_chain: processes, each with a device of its own, that hold one model together.
        target_stderr: standard error of λ̂ at which independent draws end, as a share of λ̂, or of 1 if that is less,
            and chains, as a share of λ̂; None means 0.05 if their number is open, else as many as were asked for.
        budget_seconds: time after which they end in any case, but for chains whose number was given.
        max_chains: the most chains that are added.
    """

    sampler: Annotated[str, Option(help=SAMPLER_HELP, panel="Sampling", common=True)] = "auto"
    n_beta: Annotated[
        float | None,
        Bounds(low=0, high=LARGEST),
        Option(help="nβ, the inverse temperature times n. (default: n / log n)", panel="Sampling", common=True),
    ] = None
    gamma: Annotated[
        float | None,
        Bounds(low=GAMMA_MIN, high=LARGEST, or_zero=True),
        Option(
            help="γ, the strength of the localizing prior. (default: measured, so that the loss rises little)",
            panel="Sampling",
            common=True,
        ),
    ] = None
    lr: Annotated[
        float | None,
        Bounds(above=0, high=LARGEST),
        Option(help="ε, the step size of chains. (default: from the measured curvature)", panel="Sampling"),
    ] = None
    burn_in_lr: Annotated[
        float | None,
        Bounds(above=0, high=LARGEST),
        Option(
            help="ε at the start of the warm-up, from which it falls to --lr. (default: --lr, or from stability "
            "where --lr is left out)",
            panel="Sampling",
        ),
    ] = None
    momentum: Annotated[
        float | None,
        Bounds(low=0, below=1),
        Option(help="Share of momentum that a step keeps. (default: from gradient noise)", panel="Sampling"),
    ] = None
    start: Annotated[
        str,
        OneOf(STARTS),
        Option(
            help="Where chains start: anchor (at w*), localiser (a draw of the localizing prior), both, laplace "
            "(a draw that knows the curvature) or auto.",
            panel="Sampling",
        ),
    ] = "auto"
    gradient: Annotated[
        str, Option(help="minibatch, control-variate (less gradient noise, twice the cost) or auto.", panel="Sampling")
    ] = "auto"
    batches: Annotated[
        str,
        Option(
            help="independent, reshuffled (every sequence once an epoch, so that its noise cancels) or auto.",
            panel="Sampling",
        ),
    ] = "auto"
    baseline: Annotated[
        str,
        OneOf(("auto", *BASELINES)),
        Option(
            help="What a draw's loss is compared with: paired (the loss of the same sequences at w*), linear "
            "(that and its slope: less noise, a third of a step more a draw) or auto.",
            panel="Sampling",
        ),
    ] = "auto"
    chains: Annotated[
        int | None,
        Bounds(low=2, high=MOST_CHAINS, why="one chain cannot show that it disagrees with another"),
        Option(
            help="Independent chains; fewer than 4 are never called converged. (default: 4; with --target-stderr or "
            "--budget as many short ones as it takes)",
            panel="Sampling",
            common=True,
        ),
    ] = None
    draws: Annotated[
        int | None,
        Bounds(low=4, high=LONGEST, why="fewer have no Monte Carlo error"),
        Option(
            help="Draws per chain. (default: 200; where --target-stderr or --budget end chains about 50; of importance "
            "as many as these need)",
            panel="Sampling",
            common=True,
        ),
    ] = None
    burn_in: Annotated[
        int | None,
        Bounds(low=0, high=LONGEST),
        Option(
            help="Warm-up: steps of a chain before its first draw. (default: from the relaxation time)",
            panel="Sampling",
        ),
    ] = None
    thin: Annotated[
        int, Bounds(low=1, high=LONGEST), Option(help="Steps from one draw to the next.", panel="Sampling")
    ] = 1
    batch_size: Annotated[
        int | None,
        Bounds(low=1, high=LONGEST),
        Option(help="Sequences per minibatch. (default: 32; of importance about 1,024 tokens)", panel="Sampling"),
    ] = None
    micro_batch_size: Annotated[
        int | None,
        Bounds(low=1, high=LONGEST),
        Option(
            help="Sequences per forward pass; lower it when memory is short. (default: by size of the logits)",
            panel="Machine",
        ),
    ] = None
    dtype: Annotated[
        str,
        OneOf(DTYPES, "with either the weights are float32"),
        Option(
            help="float32, or bfloat16: matrix products in 16 bits, for GPUs; weights, noise and updates stay float32.",
            panel="Machine",
            common=True,
        ),
    ] = "float32"
    params: Annotated[
        tuple[str, ...],
        Option(
            help="Move only parameters that match this glob or re:REGEX (repeatable): the weight-refined LLC.",
            panel="Sampling",
        ),
    ] = ()
    seed: Annotated[
        int, Bounds(low=0, high=LARGEST_INTEGER), Option(help="Every random number derives from it.", panel="Sampling")
    ] = 0
    checks: Annotated[
        bool,
        Option(
            help="Also run short sensitivity chains: at ε/2, without noise, and at a larger γ.",
            panel="Sampling",
            negative="--no-checks",
        ),
    ] = True
    cross_check: Annotated[
        str | None,
        OneOf(CROSS_CHECKS),
        Option(
            help="Also estimate in another way: sgld (short chains beside independent draws), draws "
            "(independent draws beside chains) or lanczos (the quadratic part of the loss, without "
            "sampling).",
            panel="Sampling",
        ),
    ] = None
    threads: Annotated[
        int | None,
        Bounds(low=1, high=MOST_THREADS),
        Option(help="CPU threads per process. (default: cores / chains)", panel="Machine"),
    ] = None
    devices_per_chain: Annotated[
        int,
        Bounds(low=1, high=LONGEST),
        Option(
            help="Devices that hold one model together (FSDP2), for a model too big for one; --num-processes is "
            "a multiple of it.",
            panel="Machine",
        ),
    ] = 1
    target_stderr: Annotated[
        float | None,
        Bounds(above=0, high=1e3, why="0.02 asks for 2 % of the LLC"),
        Option(
            help="Go on until the standard error is this share of the LLC, or say why it will not be. (default: "
            "0.05 with --budget and of importance; else as many chains as --chains)",
            panel="Sampling",
            common=True,
        ),
    ] = None
    budget_seconds: Annotated[
        float | None,
        Bounds(above=0, high=LONGEST),
        Option(
            help="Stop drawing after this time (90s, 15m, 2h) from the start of the command, with what there is.",
            panel="Sampling",
            common=True,
            flag="--budget",
            metavar="TIME",
        ),
    ] = None
    max_chains: Annotated[
        int,
        Bounds(low=2, high=MOST_CHAINS),
        Option(help="At most so many, with --target-stderr or --budget.", panel="Sampling"),
    ] = MAX_CHAINS

    @property
    def grows(self) -> bool:
        """True if rounds add chains until their error is small enough or the time is up: a target was given, or a time
        and not their number."""
        return self.target_stderr is not None or (self.budget_seconds is not None and self.chains is None)

    @property
    def chain_count(self) -> int:
        """Chains, or groups of independent draws; where chains come in rounds they are more in the end."""
        return FEW_CHAINS if self.chains is None else self.chains

    @property
    def chain_draws(self) -> int:
        """Draws of a chain."""
        if self.draws is not None:
            return self.draws
        return SHORT_DRAWS if self.grows else CHAIN_DRAWS

    @property
    def chain_batch_size(self) -> int:
        """Sequences of a chain's minibatch."""
        return CHAIN_BATCH_SIZE if self.batch_size is None else self.batch_size

    @property
    def by_draws(self) -> bool:
        """True if independent draws are asked for in place of chains."""
        return self.sampler == IMPORTANCE

    @property
    def tries_draws(self) -> bool:
        """True if independent draws are taken where they serve: nothing that only chains have was asked for."""
        given = (self.lr, self.burn_in_lr, self.momentum, self.burn_in, self.draws)
        chosen = {self.sampler, self.start, self.gradient, self.batches, self.baseline}
        plain = chosen == {"auto"} and self.thin == 1 and self.checks and self.cross_check in {None, "sgld"}
        return plain and all(value is None for value in given) and 0 not in {self.n_beta, self.gamma}

    @property
    def side_by_side(self) -> int:
        """Chains, or makers of independent draws, that are expected to share the cores of a machine.

        Rounding depends on the threads of each, and independent draws do not depend on how many are asked for.
        """
        return FEW_CHAINS if self.by_draws else self.chain_count

    @property
    def without_use(self) -> list[str]:
        """Settings that were given and that this sampler has no use for."""
        default = SamplerSettings()
        return [name for name in OF_CHAINS if self.by_draws and getattr(self, name) != getattr(default, name)]

    def __post_init__(self) -> None:
        check_fields(self)
        steps = (self.burn_in or 0) + self.chain_draws * self.thin
        require(
            steps <= LONGEST,
            f"draws times thin plus burn_in must be ≤ {LONGEST}, got {steps}: a chain keeps the loss of every step.",
        )
        require(
            not self.by_draws or self.cross_check in {None, "sgld"},
            f"cross_check {self.cross_check} goes with chains; of independent draws it is sgld.",
        )
        require(
            self.cross_check != "sgld" or self.by_draws or self.tries_draws,
            "cross_check sgld goes with independent draws (sampler importance); of chains it is draws or lanczos.",
        )
        require(
            self.gamma != 0 or self.start in {"auto", "anchor"},
            f"--start {self.start} draws from the localiser, and with --gamma 0 there is none; use --start anchor.",
        )
        require(
            self.dtype == "float32" or self.start != "laplace",
            f"--start laplace takes differences of gradients, of which --dtype {self.dtype} leaves nothing; use "
            "--dtype float32, or --start both.",
        )
        require(
            self.dtype == "float32" or self.baseline != "linear",
            f"--baseline linear takes small differences of losses, of which --dtype {self.dtype} leaves nothing; use "
            "--dtype float32, or --baseline paired.",
        )
        if self.devices_per_chain > 1 and self.dtype != "float32":
            # Autocast keeps 16-bit copies of all weights until the backward pass is over, in every process.
            raise SettingsError(
                f"--devices-per-chain {self.devices_per_chain} takes --dtype float32: in {self.dtype} every device "
                "would hold a copy of the whole model."
            )
        if self.lr is not None and self.gamma is not None and self.lr * self.gamma >= STABILITY_LIMIT:
            raise SettingsError(
                f"--lr {self.lr:g} times --gamma {self.gamma:g} is {self.lr * self.gamma:g}, past the stability limit "
                f"{STABILITY_LIMIT:g} of the localisation alone. Use --lr below {STABILITY_LIMIT / self.gamma:.3g}."
            )
