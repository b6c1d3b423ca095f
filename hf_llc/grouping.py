"""The chains of a run as its parts: each made by itself, or those that go together in one call."""

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import torch

from hf_llc.core.chain import Progress, run_chain
from hf_llc.core.estimator import llc as llc_of
from hf_llc.core.lockstep import Member, run_together
from hf_llc.core.variations import Variation
from hf_llc.observer import Observer
from hf_llc.resolved import ResolvedSettings
from hf_llc.workbench import Workbench


class Job(NamedTuple):
    """One chain: its settings, its number, what it varies, and what a person sees it called."""

    settings: ResolvedSettings
    chain: int
    variation: Variation | None
    label: str


class Chains:
    """Makes the traces of jobs, as the payloads of their parts, on one process's workbench.

    Args:
        jobs: by the names of their parts. anchors: ℓ_i(w*) of all sequences, in nats per token.
        batched: several are made in one call of the model.
    """

    def __init__(
        self, jobs: Mapping[str, Job], bench: Workbench, anchors: Sequence[float], observer: Observer, *, batched: bool
    ) -> None:
        self._jobs, self._bench, self._anchors = jobs, bench, anchors
        self._observer, self._batched = observer, batched

    def __call__(self, names: Sequence[str]) -> Iterator[tuple[str, dict[str, Any]]]:
        """The payload of each, with its name, as soon as it is there."""
        with self._observer.part("loading"):
            objective = self._bench.load()
        anchors = torch.tensor(self._anchors, device=objective.parameters[0].device)
        controlled = any(self._jobs[name].settings.uses_anchor_gradient for name in names)
        options: dict[str, Any] = {
            "anchor_gradient": self._bench.anchor_gradient() if controlled else None,
            "keep_noise": self._bench.can_keep_noise(len(names) if self._batched else 1),
            "part": self._observer.part if self._observer.profile else None,
        }
        if self._batched:
            members = [Member(*self._jobs[name][:3], progress=self._progress(name)) for name in names]
            traces = run_together(self._bench.stacked, objective.parameters, anchors, members, **options)
            last, share = time.monotonic(), 0.0
            for done, (place, trace) in enumerate(traces):
                # Each second is that of all chains which are still going on, in equal parts.
                now = time.monotonic()
                last, share = now, share + (now - last) / (len(names) - done)
                yield names[place], replace(trace, seconds=share).to_dict()
            return
        for name in names:
            settings, chain, variation, _ = self._jobs[name]
            progress, started = self._progress(name), time.monotonic()
            trace = run_chain(objective, anchors, settings, chain, variation=variation, progress=progress, **options)
            yield name, replace(trace, seconds=time.monotonic() - started).to_dict()

    def _progress(self, name: str) -> Progress:
        job = self._jobs[name]
        return partial(_told, self._observer, job.label, job.settings.n_beta)


def _told(observer: Observer, label: str, n_beta: float, step: int, loss: float, delta: float) -> None:
    observer.chain(label, step, loss, llc_of(n_beta, delta))
