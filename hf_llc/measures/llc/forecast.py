"""What an estimate would cost, without downloading weights or sampling."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, NamedTuple

from hf_llc.checkpoints.resolve import find_model
from hf_llc.components.find import component_of, named_components
from hf_llc.execution import batch_norm, devices, machine
from hf_llc.execution.loaded_model import COPIES
from hf_llc.measures.llc.draws.amounts import FIRST_GRADIENTS, FIRST_LOSSES, Amount
from hf_llc.measures.llc.draws.rounds import gamma_sequences
from hf_llc.measures.llc.forecast_subject import FORWARD, Subject, subject_of
from hf_llc.measures.llc.forecast_timing import EFFICIENCY, Timing, batch_size, look_at
from hf_llc.measures.run import WORTH_STARTING
from hf_llc.results.progress import Observer
from hf_llc.sampling.samplers import check_sampler
from hf_llc.settings.data import DataSettings
from hf_llc.settings.model import ModelSettings
from hf_llc.settings.posterior import IMPORTANCE
from hf_llc.settings.recording import LOSSES, TOKEN_LOSSES
from hf_llc.settings.sampler import SamplerSettings

BACKWARD_AND_FORWARD = 6
"""Floating-point operations per parameter and token of a forward and a backward pass (Kaplan et al. 2020)."""
ASSUMED_BURN_IN = 50
STARTING, READING = 5.5, 5e8
"""Seconds of a whole core until a process has its libraries, and bytes of weights that are read in one."""
PACKING = 1e6
"""Tokens that are made from text and packed in a second of a whole core, about."""
MAKING = 1000.0
"""Images that are decoded and processed in a second of a whole core, about."""
GAMMA_TRIALS = 8
"""Losses that finding γ takes, of its own sequences: 4 to 13 were seen."""
MORE_ROUNDS = 1.5
"""Draws of all rounds over those of the first one, where the error ends them: 1 to 3 were seen."""
PAIRS_A_GRADIENT = 3
"""Pairs for one with its gradients where their number is given, about."""


@dataclass(frozen=True, kw_only=True)
class Forecast:
    """The expected cost of an estimate; bytes, seconds and floating-point operations per second.

    Attributes:
        seconds: from the start of the command to its end, download apart; of independent draws that end by their error
            with as many rounds as are usual. pairs: of independent draws that make the first number; None for chains.
            processes: at work then. pairs_in_15_minutes: as many as there is time for.
        parameters: weights of the model. moving: those that move.
        tokens: through the model; of items that are no text, these. items: what they are called.
        per_token: floating-point operations of a forward pass of one of them.
        recorded_draws, recorded_items: at how many draws losses of how many items are recorded; 0 where none are.
        recording_seconds, recording_bytes: what that takes, in `seconds` and on disk.
        preparing_seconds: of `seconds`, until the first draw; 0 where that is not forecast.
    """

    model: str
    sha: str
    parameters: int
    weight_bytes: int
    download_bytes: int
    memory_bytes: int
    chains: int
    steps: int
    burn_in: int
    tokens: int
    device: str
    rate: float
    seconds: float
    pairs: int | None = None
    processes: int = 1
    pairs_in_15_minutes: int | None = None
    items: str = "tokens"
    per_token: float = 0.0
    moving: int | None = None
    recorded_draws: int = 0
    recorded_items: int = 0
    recording_seconds: float = 0.0
    recording_bytes: int = 0
    preparing_seconds: float = 0.0

    @property
    def operations(self) -> float:
        """Floating-point operations: of draws those of as many losses, of chains those of all gradients."""
        return (BACKWARD_AND_FORWARD / FORWARD if self.pairs is None else 1.0) * self.per_token * self.tokens

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready mapping."""
        return asdict(self)


def forecast(
    model: ModelSettings,
    data: DataSettings,
    sampler: SamplerSettings,
    *,
    device: str | None = None,
    observer: Observer | None = None,
) -> Forecast:
    """The cost of `estimate` with the same arguments, from the model's config and a short look at the machine.

    Raises:
        HfLlcError: the model cannot be read, or the settings are impossible.
    """
    observer = observer or Observer()
    subject = _subject(model, data, sampler, observer)
    return _of_runs(subject, sampler, look_at(subject, sampler, device), 1)


@dataclass(frozen=True, kw_only=True)
class ComponentForecasts:
    """The expected cost of runs of several components.

    Attributes:
        components: what each adds to a call that has begun, by name. total: of all of them in one call.
        checkpoints: how many there are of each.
    """

    components: Mapping[str, Forecast]
    total: Forecast
    checkpoints: int

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready mapping."""
        return {
            "components": {name: each.to_dict() for name, each in self.components.items()},
            "total": self.total.to_dict(),
            "checkpoints": self.checkpoints,
        }


def forecast_components(
    model: ModelSettings,
    data: DataSettings,
    sampler: SamplerSettings,
    *,
    checkpoints: int = 1,
    device: str | None = None,
    observer: Observer | None = None,
) -> ComponentForecasts:
    """The cost of `estimate_components` with the same arguments, or of `scan_components` over so many checkpoints.

    The machine is looked at once: losses and gradients take the same time whichever component moves.

    Args:
        model: the last checkpoint of several. sampler: its component is a list.

    Raises:
        HfLlcError: see `forecast`; or the model has no such component.
    """
    subject = _subject(model, data, replace(sampler, component=None), observer or Observer())
    names = named_components(subject.outline, sampler.component)
    timing, tensors = look_at(subject, sampler, device), dict(subject.outline.named_parameters())
    moving = {name: component_of(subject.outline, name).size(tensors) for name in names}
    each = {
        name: _of_runs(subject.of_weights(count), sampler, timing, len(names) * checkpoints, checkpoints)
        for name, count in moving.items()
    }
    every = list(each.values())
    first = every[0]
    total = replace(
        first,
        moving=None,
        memory_bytes=max(one.memory_bytes for one in every),
        tokens=sum(one.tokens for one in every),
        pairs=None if first.pairs is None else sum(one.pairs or 0 for one in every),
        # Libraries, text and γ are for all of them, and so is each checkpoint in memory.
        seconds=first.preparing_seconds + sum(one.seconds - one.preparing_seconds for one in every),
        recording_seconds=sum(one.recording_seconds for one in every),
        recording_bytes=sum(one.recording_bytes for one in every),
    )
    shared = {
        name: replace(one, seconds=one.seconds - one.preparing_seconds, preparing_seconds=0.0)
        for name, one in each.items()
    }
    return ComponentForecasts(components=shared, total=total, checkpoints=checkpoints)


def _subject(model: ModelSettings, data: DataSettings, sampler: SamplerSettings, observer: Observer) -> Subject:
    check_sampler(sampler.sampler, [IMPORTANCE])
    source = find_model(model, download=False, tell=observer.tell)
    subject = subject_of(source, data, sampler, observer.tell)
    if sampler.batch_norm == "reestimated":
        batch_norm.layers_of(subject.outline)
    return subject


def _of_runs(subject: Subject, sampler: SamplerSettings, timing: Timing, runs: int, checkpoints: int = 1) -> Forecast:
    """The cost of one of so many runs that are made together, at so many checkpoints."""
    if sampler.by_draws or sampler.tries_draws:
        return _of_draws(subject, sampler, timing, runs, checkpoints)
    return _of_chains(subject, sampler, timing, checkpoints)


def _of_chains(subject: Subject, sampler: SamplerSettings, timing: Timing, checkpoints: int) -> Forecast:
    context, rate = subject.context, timing.rate
    burn_in = ASSUMED_BURN_IN if sampler.burn_in is None else sampler.burn_in
    steps = burn_in + sampler.chain_draws * sampler.thin
    tokens = sampler.chain_count * (steps + 1) * sampler.chain_batch_size * context * checkpoints
    an_item = subject.per_token * context / (EFFICIENCY * rate)
    recorded = _recorded(subject, sampler, sampler.chain_count * sampler.chain_draws * checkpoints, an_item, 1)
    return Forecast(
        **_of_subject(subject, sampler, timing, 4),
        steps=steps,
        burn_in=burn_in,
        tokens=tokens,
        seconds=BACKWARD_AND_FORWARD / FORWARD * subject.per_token * tokens / (EFFICIENCY * rate) + recorded.seconds,
        **recorded.fields,
    )


def _of_draws(subject: Subject, sampler: SamplerSettings, timing: Timing, runs: int, checkpoints: int) -> Forecast:
    source, context, n, kind = subject.source, subject.context, subject.n, timing.kind
    size, costs = batch_size(subject, sampler), timing.costs
    pairs = sampler.chain_count * (sampler.draws or -(-FIRST_LOSSES // sampler.chain_count))
    amount = Amount(pairs, max(FIRST_GRADIENTS, pairs // PAIRS_A_GRADIENT if sampler.draws else 0), 0)
    work = subject.per_token / FORWARD * amount.cost * size * context * runs
    processes = 1 if work < WORTH_STARTING and kind == "cpu" else max(1, _places(kind) // timing.threads)
    processes = min(processes, amount.losses * runs)
    trial = costs.losses * gamma_sequences(context, n) / size + costs.move
    gamma = 0.0 if sampler.gamma is not None else GAMMA_TRIALS * trial
    preparing = n * context / PACKING if subject.items == "tokens" else n / MAKING
    load = checkpoints * source.all_weight_bytes / READING + STARTING * (1 if processes == 1 else 2) + preparing
    load /= timing.share if kind == "cpu" else 1.0
    first = checkpoints * costs.of(amount) / processes
    drawing = first * (1.0 if sampler.draws else MORE_ROUNDS)
    seconds = max(0.0, min(900.0, sampler.budget_seconds or 900.0) - load - gamma)
    limit = seconds * checkpoints / runs if sampler.budget_seconds else drawing
    recorded = _recorded(subject, sampler, sampler.recorded_draws * checkpoints, costs.losses / size, processes)
    return Forecast(
        **_of_subject(subject, sampler, timing, COPIES),
        steps=pairs // sampler.chain_count,
        burn_in=0,
        tokens=int(amount.cost * size * context) * checkpoints,
        seconds=load + gamma + min(drawing, limit) + recorded.seconds,
        pairs=pairs * checkpoints,
        processes=processes,
        pairs_in_15_minutes=int(pairs * checkpoints * seconds / max(first, 1e-9)),
        preparing_seconds=load + gamma,
        **recorded.fields,
    )


def _of_subject(subject: Subject, sampler: SamplerSettings, timing: Timing, copies: int) -> dict[str, Any]:
    """The fields of a Forecast that do not say how much is sampled."""
    return {
        "model": subject.source.id,
        "sha": subject.source.sha,
        "parameters": subject.parameters,
        "weight_bytes": subject.source.all_weight_bytes,
        "download_bytes": subject.source.all_download_bytes,
        "memory_bytes": _memory(subject, copies, sampler),
        "chains": sampler.chain_count,
        "device": timing.kind,
        "rate": timing.rate,
        "items": subject.items,
        "per_token": subject.per_token,
        "moving": subject.moving,
    }


class _Recorded(NamedTuple):
    """What recordings take: draws, items of each, seconds, bytes."""

    draws: int
    items: int
    seconds: float
    size: int

    @property
    def fields(self) -> dict[str, Any]:
        """The fields of a Forecast that say it."""
        return {
            "recorded_draws": self.draws,
            "recorded_items": self.items,
            "recording_seconds": self.seconds,
            "recording_bytes": self.size,
        }


def _recorded(subject: Subject, sampler: SamplerSettings, draws: int, an_item: float, processes: int) -> _Recorded:
    """What the recordings of a run take.

    Args:
        draws: at which losses are recorded. an_item: seconds of the loss of one item.
    """
    if not sampler.observables:
        return _Recorded(0, 0, 0.0, 0)
    items = subject.n if sampler.probe is None else sampler.probe_items
    # As observables keep them: tokens in 16 bits.
    size = sum(items * (2 * (subject.context - 1) if name == TOKEN_LOSSES else 4) for name in sampler.observables)
    by_draws = sampler.by_draws or sampler.tries_draws
    passes = len(sampler.observables) * items
    if by_draws:
        # The weight of a draw is that of the loss of all items, which a recording of them has.
        passes += 0 if sampler.probe is None and LOSSES in sampler.observables else subject.n
    gradient = BACKWARD_AND_FORWARD / FORWARD * subject.n if by_draws else 0
    return _Recorded(draws, items, (draws * passes + gradient) * an_item / processes, draws * size)


def _memory(subject: Subject, copies: int, sampler: SamplerSettings) -> int:
    """Bytes of the weights, of so many copies of those that move, themselves counted, and of what lives beside them."""
    weights = subject.parameters + (copies - 1) * subject.moving
    return 4 * (weights // sampler.devices_per_chain + subject.live)


def _places(kind: str) -> int:
    """Cores, or devices."""
    return machine.cores() if kind == "cpu" else devices.device_count(kind)
