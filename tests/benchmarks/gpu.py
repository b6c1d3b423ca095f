"""What one GPU does in eight minutes: `make bench-gpu`; `--device cpu --tiny` tries it without one.

Needs torch, transformers and hf-llc alone, and no network: the models are GPT-NeoX with random weights, the text is the
prose that comes with Python. A line of JSON for each measure, as soon as it is there; what the time is up for is left
out and named. devinterp is laid beside where it is installed.
"""

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch.nn import functional

from hf_llc import DataSettings, SamplerSettings, estimate
from hf_llc.sampling import seeds
from hf_llc.scans.demo import prose
from hf_llc.tasks.text_generation.objective import LanguageObjective
from hf_llc.tasks.text_generation.toy_model import Shape, build_model, save_checkpoint
from hf_llc.tasks.text_generation.toy_tokenizer import train_tokenizer

LIMIT = 480.0
"""Seconds for everything."""
REPEATS = 10


class Size(NamedTuple):
    """A model of this benchmark."""

    name: str
    shape: Shape
    vocabulary: int
    context: int


FULL = (
    Size("70M", Shape(layers=6, width=512, heads=8, context=1024), 50304, 1024),
    Size("1.4B", Shape(layers=24, width=2048, heads=16, context=1024), 50304, 1024),
)
TINY = (Size("tiny", Shape(layers=1, width=32, heads=2, context=64), 512, 64),)


class Bench:
    """Measures one after the other, within the limit."""

    def __init__(self, device: str, folder: Path) -> None:
        self._started, self._device, self._folder = time.monotonic(), device, folder

    def row(self, measure: str, act: Callable[[], dict[str, Any]]) -> None:
        """Prints what `act` measures, with the seconds and the peak memory that it took."""
        if time.monotonic() - self._started > LIMIT:
            print(json.dumps({"measure": measure, "left out": "the time is up"}), flush=True)
            return
        if self._device == "cuda":
            torch.cuda.reset_peak_memory_stats()
        started = time.monotonic()
        values = act()
        seconds = time.monotonic() - started
        peak = torch.cuda.max_memory_allocated() / 2**30 if self._device == "cuda" else None
        print(json.dumps({"measure": measure, **values, "seconds": seconds, "peak_GiB": peak}), flush=True)

    def model(self, size: Size) -> Path:
        """A folder with that model and a tokenizer."""
        folder = self._folder / size.name
        documents = prose()
        tokenizer = train_tokenizer(documents, 512)
        save_checkpoint(build_model(size.shape, size.vocabulary, seeds.generator(0, "bench")), tokenizer, folder)
        text = self._folder / "text.jsonl"
        text.write_text("".join(json.dumps({"text": each}) + "\n" for each in documents), encoding="utf-8")
        return folder

    def losses(self, size: Size) -> dict[str, Any]:
        """Seconds of the objective's losses over those of the bare model's forward pass and cross-entropy."""
        model: Any = build_model(size.shape, size.vocabulary, seeds.generator(0, "bench"))
        model = model.to(self._device).eval()
        ids = torch.randint(size.vocabulary, (8, size.context), generator=torch.Generator().manual_seed(0))
        ids = ids.to(self._device)
        objective = LanguageObjective(
            lambda each: model(input_ids=each, use_cache=False).logits, list(model.parameters()), ids, 8
        )

        @torch.no_grad()
        def bare() -> object:
            logits = model(input_ids=ids, use_cache=False).logits[:, :-1].float()
            return functional.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten()).item()

        ours, theirs = [], []
        for _ in range(REPEATS + 1):
            ours.append(_seconds(lambda: objective.losses(torch.arange(8)).mean().item()))
            theirs.append(_seconds(bare))
        return {"ratio": statistics.median(ours[1:]) / statistics.median(theirs[1:])}

    def estimate(self, size: Size, **asked: Any) -> dict[str, Any]:
        """`estimate` from start to end in this process."""
        data = DataSettings(dataset=str(self._folder / "text.jsonl"), context_length=size.context)
        result = estimate(
            self._folder / size.name,
            data,
            SamplerSettings(**asked),
            output_dir=Path(tempfile.mkdtemp(dir=self._folder)),
            device=self._device,
        )
        return {
            "llc": result.llc,
            "stderr": result.stderr,
            "verdict": str(result.verdict),
            "sampler": result.settings.sampler,
            "seconds_of": dict(result.seconds),
        }


def _seconds(act: Callable[[], object]) -> float:
    started = time.monotonic()
    act()
    return time.monotonic() - started


def main() -> None:
    """Runs all of it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--tiny", action="store_true", help="a model of a few thousand weights, to try the script")
    asked = parser.parse_args()
    if asked.device == "cuda" and not torch.cuda.is_available():
        raise SystemExit("There is no GPU here: not measured.")
    sizes = TINY if asked.tiny else FULL
    chains = {"sampler": "sgld", "draws": 20, "chains": 2, "checks": False}
    with tempfile.TemporaryDirectory() as place:
        bench = Bench(asked.device, Path(place))
        for size in sizes:
            bench.model(size)
            bench.row(f"{size.name}: losses over the bare model's", lambda: bench.losses(size))  # noqa: B023
            bench.row(f"{size.name}: estimate to 5 %", lambda: bench.estimate(size, sampler="importance"))  # noqa: B023
            bench.row(
                f"{size.name}: the same in bfloat16",
                lambda: bench.estimate(size, sampler="importance", dtype="bfloat16"),  # noqa: B023
            )
            bench.row(f"{size.name}: 2 × 20 draws of SGLD", lambda: bench.estimate(size, **chains))  # noqa: B023
    beside = "installed: run tests/benchmarks/test_speed.py" if find_spec("devinterp") else "not installed"
    print(json.dumps({"measure": "devinterp beside", "left out": beside}))


if __name__ == "__main__":
    main()
