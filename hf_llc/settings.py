"""What a user may ask for: three frozen dataclasses, the only home of defaults and of range checks.

`None` means "choose from measurement"; what was chosen is a `ResolvedSettings`, and that is what results store.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from hf_llc.errors import SettingsError

DEFAULT_DATASET = "NeelNanda/pile-10k"
MAX_DEFAULT_CONTEXT = 1024
DTYPES = ("float32", "bfloat16")
BASELINES = ("paired", "linear")
BATCHED = ("auto", "on", "off")
STARTS = ("auto", "anchor", "localiser", "both", "laplace")
GAMMA_MIN = 1e-12
"""A localiser that reaches a million from w*: numbers of its draws would be beyond all that weights are made for."""
STABILITY_LIMIT = 4.0
"""ε(nβh+γ) at which a step of size ε/2 along curvature h overshoots by its own length (Euler, quadratic loss)."""


def _require(holds: bool, message: str) -> None:
    if not holds:
        raise SettingsError(message)


def _positive(value: float) -> bool:
    return math.isfinite(value) and value > 0


def _non_negative(value: float) -> bool:
    return math.isfinite(value) and value >= 0


def _is_localiser(value: float) -> bool:
    return value == 0 or (math.isfinite(value) and value >= GAMMA_MIN)


@dataclass(frozen=True, kw_only=True)
class ModelSettings:
    """Where the checkpoint w* is. `model` takes every spelling that `hf_llc.references.parse_model` reads, or a path.

    `subfolder` is a folder inside the repository or the local folder, as in transformers' `from_pretrained`.
    """

    model: str
    revision: str | None = None
    subfolder: str | None = None
    gguf_file: str | None = None
    trust_remote_code: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "model", str(self.model))


@dataclass(frozen=True, kw_only=True)
class DataSettings:
    """Which text makes the empirical loss L_n.

    Attributes:
        dataset: a Hub dataset id or URI, or a local .txt, .jsonl, .json, .csv or .parquet file or a folder of them.
        config, split, revision, text_column: as in `datasets.load_dataset`; `text_column` None means `text`, or the
            only column of strings there is.
        max_sequences: the largest n; 0 takes all there are.
        context_length: tokens per packed sequence; None means min(1024, the model's own).
    """

    dataset: str = DEFAULT_DATASET
    config: str | None = None
    split: str = "train"
    revision: str | None = None
    text_column: str | None = None
    max_sequences: int = 2048
    context_length: int | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "dataset", str(self.dataset))
        _require(self.max_sequences >= 0, f"max_sequences is {self.max_sequences}; it must be 0 (all) or more.")
        _require(
            self.context_length is None or self.context_length >= 2,
            f"context_length is {self.context_length}; a next-token loss needs at least 2 tokens.",
        )


@dataclass(frozen=True, kw_only=True)
class SamplerSettings:
    """How the localised posterior p(w) ∝ exp(−nβ L_n(w) − γ/2 ‖w−w*‖²) is sampled.

    Attributes:
        sampler: a name in `hf_llc.core.samplers.SAMPLERS`, or `auto`.
        n_beta: nβ, inverse temperature times n; None means n / log n (Lau et al. 2023).
        gamma: γ, the localisation in 1/weight²; None is chosen by a probe of how far the loss rises.
        lr: ε, the step size; None is chosen from the measured curvature.
        burn_in_lr: the step size that the burn-in begins with, from which it falls to ε; None leaves it at ε, unless ε
            was chosen small against gradient noise.
        momentum: c in [0, 1), the share of momentum that a step keeps, for samplers that have one; None is chosen from
            the measured curvature and gradient noise.
        start: where chains begin: `anchor` is w* itself, `localiser` a draw w* + ξ/√γ, `both` the one or the other by
            turns, `laplace` a draw w* + (γ + nβH)^(−½) ξ (`hf_llc.core.laplace`); `auto` is the localiser where that
            stays local, both where chains cannot forget their start, and laplace where they cannot even leave it.
        gradient: a name in `hf_llc.core.gradients.GRADIENTS`; batches: one in `hf_llc.core.randomness.BATCHES`; `auto`
            leaves the plain ones where minibatch noise hardly heats.
        baseline: what a draw's loss is compared with: `paired` is the loss of the same sequences at w*, `linear` that
            and its slope there (`hf_llc.core.baseline`); `auto` is linear where that pays.
        chains, draws, thin: chains of `draws` draws, `thin` steps apart.
        burn_in: steps thrown away before the first draw; None is chosen from the relaxation time.
        batch_size: sequences per minibatch; micro_batch_size: sequences per forward pass (memory only).
        dtype: one of DTYPES, in which losses and their gradients are computed; weights and updates are float32 always.
        params: only parameters that match a pattern move (`hf_llc.core.selection`); none means all do.
        seed: every random number derives from it.
        checks: also run short chains at ε/2, without noise, and at half and twice γ and nβ (see core.variations).
        cross_check: `lanczos` also computes the number of the loss's quadratic part without sampling.
        batched_chains: one of BATCHED: chains of a process in one call of the model, which may take less time where
            it is small, and changes no more than rounding; `auto` times both ways (`hf_llc.batching`).
        threads: CPU threads per process; None means cores divided by chains, so that 1 or N processes agree.
        devices_per_chain: processes, each with a device of its own, that hold one model together.
    """

    sampler: str = "auto"
    n_beta: float | None = None
    gamma: float | None = None
    lr: float | None = None
    burn_in_lr: float | None = None
    momentum: float | None = None
    start: str = "auto"
    gradient: str = "auto"
    batches: str = "auto"
    baseline: str = "auto"
    chains: int = 4
    draws: int = 200
    burn_in: int | None = None
    thin: int = 1
    batch_size: int = 32
    micro_batch_size: int | None = None
    dtype: str = "float32"
    params: tuple[str, ...] = ()
    seed: int = 0
    checks: bool = True
    cross_check: str | None = None
    batched_chains: str = "auto"
    threads: int | None = None
    devices_per_chain: int = 1

    def __post_init__(self) -> None:
        # JSON knows lists only; a plan read back equals the one that was written.
        object.__setattr__(self, "params", (self.params,) if isinstance(self.params, str) else tuple(self.params))
        _require(self.start in STARTS, f"--start is {self.start!r}; choose one of {', '.join(STARTS)}.")
        _require(
            self.gamma != 0 or self.start in {"auto", "anchor"},
            f"--start {self.start} draws from the localiser, and with --gamma 0 there is none; use --start anchor.",
        )
        _require(
            self.dtype in DTYPES,
            f"--dtype is {self.dtype!r}; choose one of {', '.join(DTYPES)}. With either the weights are float32.",
        )
        _require(
            self.dtype == "float32" or self.start != "laplace",
            f"--start laplace takes differences of gradients, of which --dtype {self.dtype} leaves nothing; use "
            "--dtype float32, or --start both.",
        )
        _require(
            self.baseline in {"auto", *BASELINES},
            f"--baseline is {self.baseline!r}; choose one of auto, {', '.join(BASELINES)}.",
        )
        _require(
            self.dtype == "float32" or self.baseline != "linear",
            f"--baseline linear takes small differences of losses, of which --dtype {self.dtype} leaves nothing; use "
            "--dtype float32, or --baseline paired.",
        )
        _require(
            self.batched_chains in BATCHED,
            f"--batched-chains is {self.batched_chains!r}; choose one of {', '.join(BATCHED)}.",
        )
        _require(
            self.cross_check in {None, "lanczos"}, f"--cross-check is {self.cross_check!r}; there is only lanczos."
        )
        checks: list[tuple[str, Callable[[Any], bool], str]] = [
            ("n_beta", _non_negative, "a finite number, 0 or more"),
            ("gamma", _is_localiser, f"0, or a finite number from {GAMMA_MIN:g} up"),
            ("lr", _positive, "a finite number above 0"),
            ("burn_in_lr", _positive, "a finite number above 0"),
            ("momentum", lambda v: 0 <= v < 1, "0 or more and below 1"),
            ("chains", lambda v: v >= 2, "at least 2: one chain cannot show that it disagrees with another"),
            ("draws", lambda v: v >= 4, "at least 4: fewer have no Monte Carlo error"),
            ("burn_in", _non_negative, "0 or more"),
            ("thin", _positive, "1 or more"),
            ("batch_size", _positive, "1 or more"),
            ("micro_batch_size", _positive, "1 or more"),
            ("seed", _non_negative, "0 or more"),
            ("threads", _positive, "1 or more"),
            ("devices_per_chain", _positive, "1 or more"),
        ]
        for name, allowed, words in checks:
            value = getattr(self, name)
            option = "--" + name.replace("_", "-")
            _require(value is None or allowed(value), f"{option} is {value}; it must be {words}.")
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


@dataclass(frozen=True, kw_only=True)
class CalibrationSettings:
    """What is wanted of a calibration.

    Attributes:
        target_stderr: standard error of λ̂ as a share of it. budget: gradients that the estimate may take for it.
        pilot_draws: draws of a pilot chain.
    """

    target_stderr: float = 0.02
    budget: int = 20_000
    pilot_draws: int = 24

    def __post_init__(self) -> None:
        _require(
            _positive(self.target_stderr),
            f"--target-stderr is {self.target_stderr}; it must be above 0: 0.02 asks for 2 % of the LLC.",
        )
        _require(self.budget >= 1, f"--budget is {self.budget}; it must be 1 or more.")
        _require(self.pilot_draws >= 8, f"--pilot-draws is {self.pilot_draws}; fewer than 8 show nothing.")
