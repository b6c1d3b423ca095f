"""A resolved request: everything that decides the number, and the key under which its parts are kept."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, Self

from hf_llc.checkpoints.source import Corpus, ModelSource
from hf_llc.results.estimate import SCHEMA
from hf_llc.settings.posterior import DEFAULTS_OF_EARLIER, IMPORTANCE, PosteriorSettings, as_in_earlier
from hf_llc.settings.sampler import CHAIN_DRAWS, SamplerSettings
from hf_llc.tasks import TASKS

INPUTS_OF_DRAWS = ("sampler", "n_beta", "gamma", "params", "seed")
"""Settings on which what independent draws show depends; how many there are is no part of it."""
DRAW_TOKENS = 1024
"""Tokens of an independent draw's minibatch where its size is not given: more draws of fewer items are the better use
of the same work, as long as making a draw costs little beside the loss of its minibatch."""
DRAW_BATCH_SIZES = (2, 64)
"""The least and the most sequences of such a minibatch."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What one estimate is made from, where it is made, and on what.

    Attributes:
        device: `cpu`, `cuda` or `mps`, without an index: which one is each process's own business.
        dtype: in which losses and gradients are computed. threads: CPU threads per process.
        run_dir: where its parts are kept. known: of a series: what `cached.CachedMeasurements` wrote.
        measures: what is computed at the checkpoint, by name; `llc` is λ̂ itself.
        losses_at: folder of losses at w* that runs share which differ in the component alone; None without others.
        probe: items whose losses are recorded in place of those of `corpus`.
        deadline: seconds since the epoch at which draws and chains end; None without one. followers: plans of a series
            that share what is left until then. longest_burn_in: steps, where there is no time for more.
    """

    source: ModelSource
    corpus: Corpus
    sampler: SamplerSettings
    device: str
    dtype: str
    threads: int
    run_dir: Path
    known: Mapping[str, Any] | None = None
    probe: Corpus | None = None
    deadline: float | None = None
    followers: int = 0
    longest_burn_in: int | None = None
    measures: tuple[str, ...] = ("llc",)
    losses_at: Path | None = None

    @property
    def title(self) -> str:
        """The model, and the component that moves, for messages."""
        component = self.sampler.component
        return self.source.id if component is None else f"{component} of {self.source.id}"

    @property
    def items(self) -> str:
        """What the loss is a mean over, in the plural: sequences, images."""
        return f"{TASKS[self.corpus.task].item}s"

    @property
    def items_with_length(self) -> str:
        """`items`, and of text how long they are."""
        if self.corpus.context_length == 1:
            return self.items
        most = "up to " if self.corpus.loss_on is not None else ""
        return f"{self.items} of {most}{self.corpus.context_length} tokens"

    @property
    def batch_size(self) -> int:
        """Sequences of a minibatch."""
        if self.sampler.batch_size is not None or not self.sampler.by_draws:
            return self.sampler.chain_batch_size
        return draw_batch_size(self.corpus.context_length, self.corpus.n)

    def inputs(self) -> dict[str, Any]:
        """Every input that can change the number: all that the key is a hash of.

        Noise and rounding differ between kinds of device and, on a CPU, with the number of threads, and rounding with
        the number of devices that hold a model together.
        """
        sampler = self._sampler_inputs()
        code = {"code": self.source.code} if self.source.code is not None else {}
        return {
            "schema": SCHEMA,
            "sha": self.source.sha,
            **code,
            "subfolder": self.source.subfolder,
            "gguf_file": self.source.gguf_file,
            **({"base": _identity(self.source.base)} if self.source.base is not None else {}),
            "fingerprint": self.corpus.fingerprint,
            "n": self.corpus.n,
            **({} if self.corpus.task == "text-generation" else {"task": self.corpus.task}),
            "sampler": sampler,
            "device": self.device,
            "dtype": self.dtype,
            "threads": self.threads if self.device == "cpu" else None,
        }

    def _sampler_inputs(self) -> dict[str, Any]:
        asked = self.sampler
        sampler = {each.name: _plain(getattr(asked, each.name)) for each in fields(PosteriorSettings)}
        # How many chains there are in the end, and how long they are where that is open, is no part of it.
        draws = CHAIN_DRAWS if asked.draws is None else asked.draws
        sampler |= {"chains": asked.chain_count, "draws": draws, "batch_size": self.batch_size}
        spread = {"devices_per_chain": asked.devices_per_chain} if asked.devices_per_chain > 1 else {}
        for name in as_in_earlier(sampler):
            del sampler[name]
        if asked.by_draws:
            others = (*INPUTS_OF_DRAWS, *DEFAULTS_OF_EARLIER, "batch_size")
            return {name: sampler[name] for name in others if name in sampler} | spread
        # Runs as they were before there was a choice go on under the key that they had.
        if asked.baseline == "auto":
            del sampler["baseline"]
        if asked.tries_draws:
            sampler["batch_size_of_draws"] = self.of_draws().batch_size
        return sampler | {"micro_batch_size": asked.micro_batch_size} | spread

    def of_draws(self) -> Self:
        """The plan of the same number by independent draws."""
        return replace(self, sampler=replace(self.sampler, sampler=IMPORTANCE))

    def of_chains(self, gamma: float) -> Self:
        """The plan of the same number by chains, at this γ."""
        size = min(self.sampler.chain_batch_size, self.corpus.n)
        draws = None if self.sampler.grows else self.sampler.chain_draws
        sampler = replace(self.sampler, gamma=gamma, draws=draws, batch_size=size)
        return replace(self, sampler=sampler)

    @property
    def key(self) -> str:
        """Twelve hex digits that differ whenever an input does."""
        text = json.dumps(self.inputs(), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    def of_all_weights(self) -> Self:
        """The plan without its component: losses at w* are those of this one."""
        return replace(self, sampler=replace(self.sampler, component=None))

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready mapping, for handing the plan to another process."""
        return {key: _plain(value) for key, value in asdict(self).items()}

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> Self:
        """The plan that `to_dict` wrote."""
        return cls(
            source=ModelSource.from_dict(stored["source"]),
            corpus=Corpus.from_dict(stored["corpus"]),
            probe=Corpus.from_dict(stored["probe"]) if stored["probe"] else None,
            sampler=SamplerSettings(**stored["sampler"]),
            device=stored["device"],
            dtype=stored["dtype"],
            threads=stored["threads"],
            run_dir=Path(stored["run_dir"]),
            known=stored["known"],
            deadline=stored["deadline"],
            followers=stored["followers"],
            measures=tuple(stored["measures"]),
            losses_at=Path(stored["losses_at"]) if stored["losses_at"] else None,
        )


def draw_batch_size(context_length: int, n: int) -> int:
    """Sequences of an independent draw's minibatch where their number is not given."""
    least, most = DRAW_BATCH_SIZES
    return min(n, max(least, min(most, DRAW_TOKENS // context_length)))


def _identity(base: ModelSource) -> dict[str, Any]:
    """What decides the function that the base of an adapter computes."""
    return {"sha": base.sha, "subfolder": base.subfolder, **({"code": base.code} if base.code is not None else {})}


def _plain(value: Any) -> Any:
    """The value after a round trip through JSON."""
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, tuple):
        return list(value)
    return value
