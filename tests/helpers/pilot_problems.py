"""Calibrations of losses in closed form, by the code that calibrates a checkpoint."""

from pathlib import Path
from typing import Any

import torch

from hf_llc.checkpoints.source import Corpus, ModelSource
from hf_llc.execution.distributed import world as fleets
from hf_llc.execution.loaded_model import LoadedModel
from hf_llc.execution.model_slot import LoadedCheckpoint
from hf_llc.execution.moving_weights import MovedObjective
from hf_llc.execution.plan import Plan
from hf_llc.measures.llc.calibration import calibrate
from hf_llc.measures.llc.calibration.calibrate import Findings
from hf_llc.results.calibration import Calibration
from hf_llc.results.progress import Observer
from hf_llc.sampling.objective import Objective
from hf_llc.settings.calibration import CalibrationSettings
from hf_llc.settings.data import DataSettings
from hf_llc.settings.sampler import SamplerSettings

HASH = "sha256:" + "0" * 64


class ProblemBench(LoadedModel):
    """A bench whose objective is given, not loaded; None stands for one that must not be needed."""

    def __init__(self, plan: Plan, objective: Objective | None) -> None:
        super().__init__(plan, "cpu", in_proportion=False)
        self._given = objective

    def load(self) -> Objective:  # type: ignore[override]
        assert self._given is not None, "something is computed again"
        return self._given

    @property
    def moved(self) -> MovedObjective:
        objective: Any = self.load()
        return MovedObjective(objective=objective, plain=objective, still=[], prior="", component="")

    @property
    def checkpoint(self) -> LoadedCheckpoint:
        return LoadedCheckpoint(model=torch.nn.Module(), items={}, trainable=[], left_out=[], routers=[], sums=[])

    @property
    def in_full(self) -> Objective:
        return self.load()

    @property
    def micro_batch(self) -> int:
        return 1


def plan_of(n: int, folder: Path, **sampler: object) -> Plan:
    """The plan of a calibration of a loss over n items; `sampler` are its settings, draws those of a pilot chain."""
    settings = SamplerSettings(**{"batch_size": 1, "draws": 50, "threads": 1, **sampler})  # type: ignore[arg-type]
    return Plan(
        source=ModelSource(id="problem", revision=None, sha=HASH, step=None, path=None),
        corpus=Corpus(
            id="items",
            revision=HASH,
            config=None,
            split="train",
            text_column="text",
            fingerprint=HASH,
            n=n,
            context_length=2,
            path=Path(),
        ),
        sampler=settings,
        device="cpu",
        dtype="float32",
        threads=1,
        run_dir=folder,
    )


def findings_of(plan: Plan, objective: Objective | None) -> Findings:
    """What the pilot chains show."""
    return calibrate.run(plan, fleets.single_process("cpu"), Observer(), ProblemBench(plan, objective))


def calibrated(plan: Plan, objective: Objective | None, target: float = 0.02, budget: int = 20_000) -> Calibration:
    """The calibration of that loss."""
    result = findings_of(plan, objective)
    wanted = CalibrationSettings(target_stderr=target, budget=budget)
    return calibrate.collect(plan, result, DataSettings(dataset="items"), wanted, Observer(), 0.0)
