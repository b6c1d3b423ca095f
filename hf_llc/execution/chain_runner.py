"""The chains of a run as its parts."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import torch

from hf_llc.execution.loaded_model import LoadedModel
from hf_llc.results.progress import Observer
from hf_llc.sampling.chain import AtDraw, Progress, run_chain
from hf_llc.sampling.estimator import llc as llc_of
from hf_llc.sampling.variations import Variation
from hf_llc.settings.resolved import ResolvedSettings


class ChainSpec(NamedTuple):
    """One chain: its settings, its number, what it varies, and what a person sees it called."""

    settings: ResolvedSettings
    chain: int
    variation: Variation | None
    label: str


class ChainRunner:
    """Computes the traces of chains, as the payloads of their parts, on one process's loaded model.

    Args:
        jobs: by the names of their parts. anchors: ℓ_i(w*) of all sequences, in nats per token.
    """

    def __init__(
        self, jobs: Mapping[str, ChainSpec], bench: LoadedModel, anchors: Sequence[float], observer: Observer
    ) -> None:
        self._jobs, self._bench, self._anchors, self._observer = jobs, bench, anchors, observer

    def settings(self, name: str) -> ResolvedSettings:
        """The settings of the chain of that name."""
        return self._jobs[name].settings

    def __call__(self, name: str, at_draw: AtDraw | None = None) -> dict[str, Any]:
        """The payload of the chain of that name.

        Args:
            at_draw: records its draws.
        """
        with self._observer.part("loading"):
            objective = self._bench.load()
        settings, chain, variation, _ = self._jobs[name]
        anchor_losses = torch.tensor(self._anchors, device=objective.parameters[0].device)
        started = time.monotonic()
        trace = run_chain(
            objective,
            anchor_losses,
            settings,
            chain,
            anchor_gradient=self._bench.anchor_gradient() if settings.uses_anchor_gradient else None,
            variation=variation,
            keep_noise=self._bench.can_keep_noise(),
            progress=self._progress(name),
            part=self._observer.part if self._observer.profile else None,
            at_draw=at_draw,
        )
        return replace(trace, seconds=time.monotonic() - started).to_dict()

    def _progress(self, name: str) -> Progress:
        job = self._jobs[name]
        return partial(_told, self._observer, job.label, job.settings.n_beta)


def _told(observer: Observer, label: str, n_beta: float, step: int, loss: float, delta: float) -> None:
    observer.chain(label, step, loss, llc_of(n_beta, delta))
