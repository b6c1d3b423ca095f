"""The whole way on one machine without a network: a small GPT-NeoX is trained, and its LLC followed over training."""

import hashlib
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from pydoc_data.topics import topics
from typing import Any

import torch

from hf_llc.checkpoints.resolve import find_model
from hf_llc.errors import LaunchError, ResourceError
from hf_llc.execution import machine
from hf_llc.execution.distributed import world as fleets
from hf_llc.execution.loaded_model import computing
from hf_llc.execution.planning import plan
from hf_llc.measures.llc import sgld_check
from hf_llc.measures.run import execute
from hf_llc.report.card.files import CARD, headline_of, portable, write_files
from hf_llc.report.card.metadata import PICTURE, RESULTS
from hf_llc.report.card.render import Content, render_model_card
from hf_llc.report.export import curve_of, write_scan
from hf_llc.results.curve import Point
from hf_llc.results.estimate import Estimate
from hf_llc.results.interpretation import agreement
from hf_llc.results.progress import Observer
from hf_llc.sampling import seeds
from hf_llc.scans.shared_settings import estimate_series
from hf_llc.settings.data import DataSettings
from hf_llc.settings.files import write_atomically
from hf_llc.settings.model import ModelSettings
from hf_llc.settings.posterior import IMPORTANCE
from hf_llc.settings.sampler import SamplerSettings
from hf_llc.tasks.text_generation.objective import LanguageObjective
from hf_llc.tasks.text_generation.prepare import find_corpus, load_tokens
from hf_llc.tasks.text_generation.toy_model import Shape, build_model, save_checkpoint
from hf_llc.tasks.text_generation.toy_tokenizer import train_tokenizer
from hf_llc.tasks.text_generation.toy_training import TrainingSettings, train

NAME = "pydoc-gpt-neox"
TEXT, PUBLISHED, CHECKPOINTS, RUNS = "text.jsonl", "llc", "checkpoints", "runs"
MARKER = f"{CHECKPOINTS}/complete.json"
"""Empty while training; then what the checkpoints were made from."""
ABOUT = (
    "A GPT-NeoX of {parameters:,} weights, trained on the English prose that comes with Python "
    "(pydoc_data.topics) by hf-llc demo, to show how the local learning coefficient changes over "
    "training. It serves no other purpose."
)


DEMO_SAMPLER = SamplerSettings(sampler=IMPORTANCE, gamma=7800, draws=8, batch_size=64, threads=1)
"""Four times eight pairs of 64 sequences: large minibatches take less time for each sequence of so small a model."""


@dataclass(frozen=True, kw_only=True)
class DemoSize:
    """How big the demonstration is; the defaults take less than two minutes on two cores.

    Attributes:
        documents: use at most this many; None takes all. vocabulary: tokens of the BPE.
        checkpoints: training steps that are kept, in rising order; the last one ends the training.
        max_sequences: the largest n, for training and for L_n alike.
        threads: CPU threads of the training; sums depend on how many there are, and more do not pay at this size.
    """

    documents: int | None = None
    vocabulary: int = 512
    shape: Shape = field(default_factory=Shape)
    training: TrainingSettings = field(default_factory=lambda: TrainingSettings(batch_size=16))
    checkpoints: tuple[int, ...] = (0, 1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1000)
    max_sequences: int = 2048
    sampler: SamplerSettings = DEMO_SAMPLER
    threads: int = 1


@dataclass(frozen=True, kw_only=True)
class Demonstration:
    """What the demonstration leaves behind.

    Attributes:
        model: its name. estimates: one per checkpoint, in the order of training.
        folder: holds everything else: checkpoints, the picture, the card, the results file.
        training_seconds: wall time of the training; None if the checkpoints were there already.
    """

    model: str
    estimates: tuple[Estimate, ...]
    folder: Path
    picture: Path
    card: Path
    results: Path
    training_seconds: float | None

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready mapping."""
        return {
            "schema": self.estimates[0].schema,
            "model": self.model,
            "points": [estimate.to_dict() for estimate in self.estimates],
            "picture": str(self.picture) if self.picture.is_file() else None,
            "card": str(self.card),
            "run_dir": str(self.folder),
        }


def demonstrate(
    folder: Path,
    *,
    processes: int | None = None,
    observer: Observer | None = None,
    on_point: Callable[[Estimate], None] = lambda estimate: None,
    size: DemoSize | None = None,
) -> Demonstration:
    """Trains the model, estimates λ̂ at each checkpoint, and writes the picture, the results and a card to `folder`.

    The number at the last checkpoint is cross-checked by short chains of SGLD where it comes from independent draws.

    Needs no network. What an earlier call has finished in the folder is used.

    Args:
        processes: how many share the chains; None takes one per core, at most one per chain.
        on_point: called with each Estimate when it is there.

    Raises:
        LaunchError: under `accelerate launch` or `torchrun`, where every process would train.
        ResourceError: the folder holds files of these names that are not the demonstration's.
        HfLlcError: see `estimate_series`.
    """
    if fleets.launched():
        raise LaunchError("The demo starts its own processes; run it without a launcher, with `num_processes`.")
    observer, size = observer or Observer(), size or DemoSize()
    folder = folder.resolve()
    _claim(folder)
    documents = prose(size.documents)
    write_atomically(folder / TEXT, "".join(json.dumps({"text": each}) + "\n" for each in documents).encode())
    seconds = train_once(folder, documents, size, observer)
    processes = processes or min(machine.cores(), size.sampler.chain_count)
    estimates = estimate_series(
        [_model(folder, step) for step in size.checkpoints],
        _data(folder, size),
        size.sampler,
        output_dir=folder / RUNS,
        processes=processes,
        device="cpu",
        observer=observer,
        on_point=on_point,
    )
    if size.sampler.by_draws:
        estimates[-1] = _cross_checked(folder, size, processes, observer)
    demonstration = Demonstration(
        model=NAME,
        estimates=tuple(estimates),
        folder=folder,
        picture=folder / PICTURE,
        card=folder / CARD,
        results=folder / RESULTS,
        training_seconds=seconds,
    )
    _publish(demonstration, observer)
    return demonstration


def _cross_checked(folder: Path, size: DemoSize, processes: int, observer: Observer) -> Estimate:
    """The last checkpoint's Estimate with a few short chains of SGLD beside its draws; tells whether they agree."""
    model, sampler = _model(folder, size.checkpoints[-1]), replace(size.sampler, cross_check=sgld_check.METHOD)
    run_dir = folder / RUNS / Path(model.model).name
    checked = execute(
        lambda: plan(model, _data(folder, size), sampler, output_dir=run_dir, device="cpu", observer=observer),
        processes=processes,
        device="cpu",
        observer=observer,
    )
    assert checked is not None
    observer.tell(f"Cross-check of {run_dir.name}: {agreement(checked)}.")
    return checked


def _claim(folder: Path) -> None:
    """Marks the folder as the demonstration's, or refuses one where something else would be written over."""
    if (folder / MARKER).exists():
        return
    if foreign := [name for name in (CARD, TEXT, PUBLISHED, CHECKPOINTS) if (folder / name).exists()]:
        raise ResourceError(f"{folder} holds another {' and '.join(foreign)}; choose a new folder with `output_dir`.")
    write_atomically(folder / MARKER, b"")


def prose(count: int | None = None) -> list[str]:
    """The first `count` different texts of `pydoc_data.topics`, by name; None gives all."""
    texts = dict.fromkeys(topics[name] for name in sorted(topics))
    return list(texts)[:count]


def train_once(folder: Path, documents: Sequence[str], size: DemoSize, observer: Observer) -> float | None:
    """Trains and keeps the checkpoints; returns the seconds it took, or None if all of them were there."""
    made_from = _training_inputs(documents, size)
    marker = folder / MARKER
    if marker.is_file() and marker.read_text(encoding="utf-8") == made_from:
        observer.tell(f"The {len(size.checkpoints)} checkpoints exist already; training is skipped.")
        return None
    write_atomically(marker, b"")
    started = time.monotonic()
    with computing(size.threads):
        _train(folder, documents, size, observer)
    write_atomically(marker, made_from.encode())
    seconds = time.monotonic() - started
    observer.tell(f"Trained for {seconds:.0f} s; kept {len(size.checkpoints)} checkpoints in {folder / CHECKPOINTS}.")
    return seconds


def _train(folder: Path, documents: Sequence[str], size: DemoSize, observer: Observer) -> None:
    tokenizer = train_tokenizer(documents, size.vocabulary)
    stream = seeds.generator(size.training.seed, "initialisation")
    model = build_model(size.shape, tokenizer.get_vocab_size(), stream)
    first, last = folder / CHECKPOINTS / "step0", size.checkpoints[-1]
    save_checkpoint(model, tokenizer, first)
    # The very sequences that L_n is later computed on.
    tokens = load_tokens(find_corpus(_data(folder, size), find_model(ModelSettings(model=str(first)))))
    objective = LanguageObjective(
        lambda ids: model(input_ids=ids, use_cache=False).logits,
        list(model.parameters()),
        tokens,
        size.training.batch_size,
    )
    parameters = sum(parameter.numel() for parameter in model.parameters())
    observer.tell(
        f"Training a GPT-NeoX of {parameters:,} weights on {len(tokens)} sequences of {tokens.shape[1]} tokens, "
        f"{last} steps of {size.training.batch_size} sequences."
    )
    observer.begin("training", last)
    for step, loss in train(objective, replace(size.training, steps=last), size.checkpoints):
        save_checkpoint(model, tokenizer, folder / CHECKPOINTS / f"step{step}")
        observer.tell(f"step {step}: minibatch loss {loss:.3f} nats per token")
        observer.advance(step)
    observer.end()


def _model(folder: Path, step: int) -> ModelSettings:
    return ModelSettings(model=str(folder / CHECKPOINTS / f"step{step}"))


def _data(folder: Path, size: DemoSize) -> DataSettings:
    return DataSettings(
        dataset=str(folder / TEXT),
        text_column="text",
        max_sequences=size.max_sequences,
        context_length=size.shape.context,
    )


def _training_inputs(documents: Sequence[str], size: DemoSize) -> str:
    """Everything that decides the checkpoints, as text."""
    inputs = {
        "text": hashlib.sha256("\0".join(documents).encode()).hexdigest(),
        "torch": torch.__version__,
        **{key: value for key, value in asdict(size).items() if key not in {"sampler", "documents"}},
    }
    return json.dumps(inputs, sort_keys=True)


def _publish(demonstration: Demonstration, observer: Observer) -> None:
    """Writes results, picture and card, none of which names a path of this machine."""
    points = [
        Point(revision=Path(estimate.model).name, sha=estimate.sha, step=estimate.step, estimate=estimate)
        for estimate in demonstration.estimates
    ]
    curve = portable(curve_of(NAME, points, demonstration.folder), demonstration.folder)
    content = Content(curve=curve, name=NAME, headline=headline_of(curve, ()), command="hf-llc demo")
    write_scan(curve, demonstration.folder)
    files = write_files(demonstration.folder, content, observer.tell)
    content = replace(content, picture=PICTURE in files)
    dimension = demonstration.estimates[0].diagnostics.dimension
    write_atomically(demonstration.card, render_model_card(content, about=ABOUT.format(parameters=dimension)).encode())
