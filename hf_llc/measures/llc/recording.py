"""Makes the recordings of a run: values of observables at its chains' draws, or at independent draws with weights."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from hf_llc.errors import HfLlcError
from hf_llc.execution import work_queue
from hf_llc.execution.chain_runner import ChainRunner
from hf_llc.execution.distributed.world import ProcessWorld
from hf_llc.execution.loaded_model import LoadedModel
from hf_llc.execution.plan import Plan
from hf_llc.execution.recording import (
    LOG_PRIOR_WEIGHTS,
    LOG_WEIGHTS,
    LOSS_RISES,
    VALUES,
    Recorder,
    Recording,
    anchored,
    recordings_of,
    with_tensors,
)
from hf_llc.execution.store import RunStore, WithTensors
from hf_llc.execution.work_queue import Steps
from hf_llc.results.estimate import ChainTrace
from hf_llc.results.progress import Observer, size
from hf_llc.sampling.draws.weighted import WeightedDraws
from hf_llc.settings.resolved import ResolvedSettings
from hf_llc.tasks import TASKS
from hf_llc.tasks.base import Readable


@dataclass(frozen=True, kw_only=True)
class Posterior:
    """What is fixed of the posterior that is sampled: nβ and γ."""

    n_beta: float
    gamma: float


def made_anchors(
    plan: Plan,
    store: RunStore,
    bench: LoadedModel,
    posterior: Posterior,
    observer: Observer,
    prefix: str = "",
) -> Steps[None]:
    """Makes the parts that hold the values at w*, and what they belong to."""
    recordings = {each.anchors: each for each in recordings_of(plan, prefix)}

    def make(name: str) -> WithTensors:
        recording = recordings[name]
        with observer.part("loading"):
            bench.load()
        recorder = Recorder(recording, bench)
        with observer.part("forward_backward"):
            values = recorder.values()
        return with_tensors(_described(recording, recorder, posterior, observer), {VALUES: values})

    if recordings:
        yield from work_queue.make_parts(store, list(recordings), make)


def _described(recording: Recording, recorder: Recorder, posterior: Posterior, observer: Observer) -> dict[str, Any]:
    plan = recording.plan
    corpus = plan.probe or plan.corpus
    task, positions = TASKS[corpus.task], recorder.positions()
    labels: Sequence[str] | None = None
    if isinstance(task, Readable):
        try:
            labels = task.labels(corpus, plan.source, positions)
        except HfLlcError as error:
            observer.tell(f"The items recorded have numbers instead of their text: {error}")
    return {
        "observable": recording.observable,
        "model": plan.source.id,
        "sha": plan.source.sha,
        "step": plan.source.step,
        "revision": plan.source.revision,
        "items_of": {"dataset": corpus.id, "split": corpus.split, "fingerprint": corpus.fingerprint},
        "loss_of": {"dataset": plan.corpus.id, "split": plan.corpus.split, "fingerprint": plan.corpus.fingerprint},
        "item": task.item,
        "unit": task.unit,
        "n": plan.corpus.n,
        "n_beta": posterior.n_beta,
        "gamma": posterior.gamma,
        "prior": plan.sampler.prior,
        "params": list(plan.sampler.params),
        "component": plan.sampler.component,
        "positions": positions,
        "labels": labels,
    }


# Chains


def recorded_chain(
    name: str, chains: ChainRunner, chain: int, recordings: Sequence[Recording], store: RunStore, bench: LoadedModel
) -> tuple[dict[str, Any], dict[str, WithTensors]]:
    """The payload of a chain, and the parts of its recordings by their names."""
    bench.load()
    recorders = [anchored(recording, store, bench) for recording in recordings]

    def see() -> None:
        for recorder in recorders:
            recorder.see()

    payload = chains(name, see)
    trace, settings = ChainTrace.from_dict(payload), chains.settings(name)
    return payload, {
        recorder.recording.chain(chain): _of_chain(recorder, trace, settings) for recorder in recorders
    }  # fmt: skip


def _of_chain(recorder: Recorder, trace: ChainTrace, settings: ResolvedSettings) -> WithTensors:
    rises = recorder.taken()
    if trace.failed_at is not None:
        return with_tensors({"failed_at": trace.failed_at}, {VALUES: rises[:0], LOSS_RISES: torch.zeros(0)})
    loss_rises = rises.double().mean(dim=1) if recorder.recording.is_of_all else _minibatch_rises(trace, settings)
    return with_tensors({"failed_at": None}, {VALUES: rises, LOSS_RISES: loss_rises})


def _minibatch_rises(trace: ChainTrace, settings: ResolvedSettings) -> Tensor:
    """L(w) − L(w*) at the draws by the chain's own minibatches."""
    return torch.tensor(trace.draws(settings), dtype=torch.float64)


def missing_of_chains(
    plan: Plan,
    store: RunStore,
    bench: LoadedModel,
    chains: ChainRunner,
    jobs: Mapping[str, int],
    prefix: str,
    fleet: ProcessWorld,
    observer: Observer,
) -> Steps[None]:
    """Makes the recordings of chains that were sampled without; each is sampled once more, to the same draws.

    Args:
        jobs: the numbers of the chains by the names of their parts.
    """
    recordings = recordings_of(plan, prefix)
    wanted = {
        recording.chain(chain): (recording, name, chain) for name, chain in jobs.items() for recording in recordings
    }

    def make(part: str) -> WithTensors:
        recording, name, chain = wanted[part]
        _, parts = recorded_chain(name, chains, chain, [recording], store, bench)
        return parts[part]

    if wanted:
        observer.begin("recording", len(wanted))
        yield from work_queue.make_parts(
            store, list(wanted), make, first=fleet.share, on_parts=lambda done: observer.advance(len(done)), last=True
        )
        observer.end()


# Independent draws


def of_draws(
    plan: Plan,
    store: RunStore,
    bench: LoadedModel,
    posterior: Posterior,
    fleet: ProcessWorld,
    observer: Observer,
) -> Steps[None]:
    """Makes what is missing of the recordings at independent draws."""
    recordings = recordings_of(plan)
    if not recordings:
        return
    yield from made_anchors(plan, store, bench, posterior, observer)
    blocks = {name: recording for recording in recordings for name in recording.blocks}
    maker = _BlockMaker(plan, store, bench, posterior, blocks, observer)
    observer.begin("recording", len(blocks))
    yield from work_queue.make_parts(
        store, list(blocks), maker, first=fleet.share, on_parts=lambda done: observer.advance(len(done)), last=True
    )
    observer.end()


class _BlockMaker:
    """Makes blocks of independent draws on one process's model."""

    def __init__(
        self,
        plan: Plan,
        store: RunStore,
        bench: LoadedModel,
        posterior: Posterior,
        blocks: Mapping[str, Recording],
        observer: Observer,
    ) -> None:
        self._plan, self._store, self._bench, self._posterior = plan, store, bench, posterior
        self._blocks, self._observer = blocks, observer
        self._draws: WeightedDraws | None = None
        self._anchor_losses = torch.zeros(0)
        self._loss_rises: dict[tuple[int, float], float] = {}

    def __call__(self, name: str) -> WithTensors:
        recording, started = self._blocks[name], time.monotonic()
        draws = self._ready()
        recorder = anchored(recording, self._store, self._bench)
        loss_rises, products = [], []
        try:
            with self._observer.part("forward_backward"):
                for pair in recording.pairs_of(name):
                    for sign in (1.0, -1.0):
                        products.append(draws.move(pair, sign))
                        recorder.see()
                        loss_rises.append(self._loss_rise(recorder, pair, sign))
        finally:
            draws.restore()
        rises, slopes = torch.tensor(loss_rises, dtype=torch.float64), torch.tensor(products, dtype=torch.float64)
        n_beta = self._posterior.n_beta
        return with_tensors(
            {"seconds": time.monotonic() - started},
            {
                VALUES: recorder.taken(),
                LOSS_RISES: rises,
                LOG_WEIGHTS: -n_beta * (rises - slopes),
                LOG_PRIOR_WEIGHTS: n_beta * slopes,
            },
        )

    def _ready(self) -> WeightedDraws:
        with self._observer.part("loading"):
            objective = self._bench.load()
        # A model that was released meanwhile, for another checkpoint of a series, has come back with other tensors.
        if self._draws is None or self._draws.objective is not objective:
            with self._observer.part("forward_backward"):
                slope = self._bench.anchor_gradient()
                self._anchor_losses = objective.losses(torch.arange(objective.n)).double()
            self._draws = WeightedDraws(
                objective,
                slope,
                n_beta=self._posterior.n_beta,
                gamma=self._posterior.gamma,
                seed=self._plan.sampler.seed,
            )
        return self._draws

    def _loss_rise(self, recorder: Recorder, pair: int, sign: float) -> float:
        """L_n(w) − L_n(w*) over all items, on which the weight of a draw depends."""
        if recorder.recording.is_of_all:
            return float(recorder.last.double().mean())
        if (pair, sign) not in self._loss_rises:
            objective = self._bench.objective
            losses = objective.losses(torch.arange(objective.n)).double()
            self._loss_rises[pair, sign] = float((losses - self._anchor_losses).mean())
        return self._loss_rises[pair, sign]


def is_finished(plan: Plan, names: Callable[[Recording], Sequence[str]], prefix: str = "") -> bool:
    """True if all recordings of the run are there.

    Args:
        names: of the parts of one beside its anchors.
    """
    store = RunStore(plan.run_dir, lambda message: None)
    return all(
        store.path(name).exists()
        for recording in recordings_of(plan, prefix)
        for name in (recording.anchors, *names(recording))
    )


def told(plan: Plan, observer: Observer, draws: int, prefix: str = "") -> None:
    """Says what was recorded, and where it is."""
    store = RunStore(plan.run_dir, lambda message: None)
    for recording in recordings_of(plan, prefix):
        anchors = store.read(recording.anchors)
        if anchors is None:
            continue
        written = sum(path.stat().st_size for path in (plan.run_dir / recording.folder).rglob("*.safetensors"))
        columns = len(anchors["positions"])
        what = f"losses of {columns} {anchors['item']}s" if recording.observable == "losses" else f"{columns} losses"
        observer.tell(f"Recorded {what} at {draws} draws in {plan.run_dir / recording.folder} ({size(written)}).")
