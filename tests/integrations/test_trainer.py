"""`LLCCallback`: training goes on as without it, and its numbers are those of `hf_llc.estimate`."""

import os
import random
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy
import pytest
import torch
from datasets.arrow_dataset import Dataset
from transformers import Trainer, TrainerCallback, TrainingArguments

import hf_llc
from hf_llc.errors import SettingsError
from hf_llc.integrations import LLCCallback
from hf_llc.tasks.text.tokenized_rows import packed
from tests.helpers.tiny_adapters import D, make_adapter
from tests.helpers.tiny_model import VOCABULARY, make_model, make_tokenizer, sentences

IDS = torch.randint(VOCABULARY, (64, 16), generator=torch.Generator().manual_seed(0))
QUICK: dict[str, Any] = {"gamma": 5000.0, "draws": 4, "batch_size": 8, "threads": 1}


def rows_of(ids: torch.Tensor) -> Dataset:
    """A tokenized dataset for next-token training."""
    return Dataset.from_dict({"input_ids": ids.tolist(), "labels": ids.tolist()})


def trainer_in(
    folder: Path, callbacks: list[TrainerCallback] | None = None, *, model: Any = None, **arguments: Any
) -> Trainer:
    """A Trainer of the tiny model, unless another is given, with dropout, so that its random numbers matter, for six
    steps."""
    model = make_model() if model is None else model
    model.config.hidden_dropout = model.config.attention_dropout = 0.1
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.1
    given = {"max_steps": 6, "logging_steps": 2, "save_strategy": "no", "report_to": [], "disable_tqdm": True}
    arguments = {**given, "per_device_train_batch_size": 8, "use_cpu": True, "seed": 1, **arguments}
    return Trainer(
        model,
        TrainingArguments(str(folder), **arguments),
        train_dataset=rows_of(IDS),
        eval_dataset=rows_of(IDS[:32]),
        callbacks=callbacks,
    )


def train_for_four_steps(folder: Path) -> None:
    """A training that ended early, with checkpoints and a curve at steps 2 and 4."""
    callback = LLCCallback(data=IDS[:32], every=2, **QUICK)
    trainer_in(folder, [callback], max_steps=4, save_strategy="steps", save_steps=2).train()


def state_of(trainer: Trainer) -> list[Any]:
    """Weights, optimizer state and random states after training."""
    optimizer, model = trainer.optimizer, trainer.model
    assert optimizer is not None
    assert model is not None
    moments = [tensor for state in optimizer.state.values() for tensor in state.values()]
    return [
        *model.state_dict().values(),
        *moments,
        torch.get_rng_state(),
        torch.tensor(numpy.random.random(4)),
        torch.tensor(random.getstate()[1]),
    ]


def test_training_is_bit_identical_with_and_without_the_callback(tmp_path: Path) -> None:
    plain = trainer_in(tmp_path / "plain")
    plain.train()
    expected = state_of(plain)
    watched = trainer_in(tmp_path / "watched", [LLCCallback(data=IDS[:32], every=2, **QUICK)])
    watched.train()
    assert all(torch.equal(one, other) for one, other in zip(expected, state_of(watched), strict=True))
    losses = [[entry["loss"] for entry in each.state.log_history if "loss" in entry] for each in (plain, watched)]
    assert losses[0] == losses[1]
    assert len(losses[0]) == 3


def test_an_adapter_is_trained_as_without_the_callback_and_moves_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    plain = trainer_in(tmp_path / "plain", model=make_adapter())
    plain.train()
    expected = state_of(plain)
    callback = LLCCallback(data=IDS[:32], every=3, **QUICK)
    watched = trainer_in(tmp_path / "watched", [callback], model=make_adapter())
    watched.train()
    assert all(torch.equal(one, other) for one, other in zip(expected, state_of(watched), strict=True))
    assert callback.curve is not None
    (first, last) = (point.estimate for point in callback.curve)
    assert first is not None
    assert last is not None
    assert first.diagnostics.dimension == D
    assert first.base_sha == last.base_sha
    assert first.llc != last.llc
    alone = hf_llc.estimate(watched.model, IDS[:32], device="cpu", **QUICK)
    assert (alone.llc, alone.base_sha) == (last.llc, last.base_sha)


def test_the_points_are_those_of_estimate_on_the_saved_checkpoints(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    trainer = trainer_in(tmp_path / "run", save_strategy="steps", save_steps=3)
    callback = LLCCallback(trainer, every=3, **QUICK)
    trainer.add_callback(callback)
    trainer.train()
    curve = hf_llc.load(tmp_path / "run/llc")
    assert [point.step for point in curve] == [3, 6]
    alone = hf_llc.estimate(tmp_path / "run/checkpoint-3", IDS[:32], device="cpu", **QUICK)
    assert curve["checkpoint-3"].llc == alone.llc
    assert curve["checkpoint-3"].stderr == alone.stderr
    assert callback.curve is not None
    assert callback.curve["checkpoint-6"].llc == curve["checkpoint-6"].llc
    assert (tmp_path / "run/llc/llc.png").exists()
    assert (tmp_path / "run/llc/results.parquet").exists()
    assert not list((tmp_path / "run/llc").glob(".weights-*"))


def test_numbers_reach_what_the_trainer_reports_to(tmp_path: Path) -> None:
    logged: list[dict[str, float]] = []

    class Tracker(TrainerCallback):
        def on_log(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            logged.append(kwargs["logs"])

    trainer = trainer_in(tmp_path / "run", [Tracker()])
    trainer.add_callback(LLCCallback(trainer, every=4, **QUICK))
    trainer.train()
    llcs = [logs for logs in logged if "llc" in logs]
    assert [sorted({"llc", "llc_stderr"} & set(logs)) for logs in llcs] == [["llc", "llc_stderr"]] * 2
    # The loss that was to be logged at the same step is logged too.
    assert sum("loss" in logs for logs in logged) == 3
    entries = [entry for entry in trainer.state.log_history if "llc" in entry]
    assert [entry["step"] for entry in entries] == [4, 6]


def test_gamma_that_is_not_given_is_kept_from_the_first_estimate(tmp_path: Path) -> None:
    settings = {name: value for name, value in QUICK.items() if name != "gamma"}
    callback = LLCCallback(data=IDS[:32], every=3, **settings)
    # Steps so large that another γ would be measured at the second estimate.
    trainer_in(tmp_path / "run", [callback], learning_rate=0.05).train()
    assert callback.curve is not None
    gammas = {point.estimate.settings.gamma for point in callback.curve if point.estimate is not None}
    assert len(gammas) == 1


def test_a_resumed_training_goes_on_with_its_curve(tmp_path: Path) -> None:
    train_for_four_steps(tmp_path / "run")
    callback = LLCCallback(data=IDS[:32], every=2, **QUICK)
    trainer_in(tmp_path / "run", [callback]).train(resume_from_checkpoint=str(tmp_path / "run/checkpoint-2"))
    assert [point.step for point in hf_llc.load(tmp_path / "run/llc")] == [2, 4, 6]
    # Another training in the same folder begins another curve.
    trainer_in(tmp_path / "run", [LLCCallback(data=IDS[:32], every=6, **QUICK)]).train()
    assert [point.step for point in hf_llc.load(tmp_path / "run/llc")] == [6]


def test_another_gamma_in_a_resumed_training_begins_another_curve(tmp_path: Path) -> None:
    train_for_four_steps(tmp_path / "run")
    callback = LLCCallback(data=IDS[:32], every=2, **{**QUICK, "gamma": 50.0})
    trainer_in(tmp_path / "run", [callback]).train(resume_from_checkpoint=str(tmp_path / "run/checkpoint-2"))
    curve = hf_llc.load(tmp_path / "run/llc")
    assert [(point.step, point.estimate.settings.gamma) for point in curve if point.estimate] == [(4, 50.0), (6, 50.0)]


def test_a_curve_that_cannot_be_read_is_set_aside(tmp_path: Path) -> None:
    train_for_four_steps(tmp_path / "run")
    (tmp_path / "run/llc/scan.json").write_text("{")
    callback = LLCCallback(data=IDS[:32], every=2, **QUICK)
    trainer_in(tmp_path / "run", [callback]).train(resume_from_checkpoint=str(tmp_path / "run/checkpoint-2"))
    assert (tmp_path / "run/llc/scan.json.damaged").read_text() == "{"
    assert [point.step for point in hf_llc.load(tmp_path / "run/llc")] == [4, 6]


def test_a_callback_reads_the_data_of_each_training_anew(tmp_path: Path) -> None:
    trainer = trainer_in(tmp_path / "run")
    callback = LLCCallback(trainer, every=6, **QUICK)
    trainer.add_callback(callback)
    tokens = set()
    for rows in (IDS[:32], IDS[32:]):
        trainer.eval_dataset = rows_of(rows)
        trainer.train()
        assert callback.curve is not None
        estimate = callback.curve["checkpoint-6"].estimate
        assert estimate is not None
        tokens.add(estimate.dataset.fingerprint)
    assert len(tokens) == 2


def test_data_that_may_not_be_read_twice_is_not_touched(tmp_path: Path) -> None:
    trainer = trainer_in(tmp_path / "run")
    stream = iter(rows_of(IDS))
    trainer.eval_dataset = stream
    callback = LLCCallback(trainer, every=6, **QUICK)
    trainer.add_callback(callback)
    trainer.train()
    assert callback.curve is not None
    assert "from the training: give the callback data" in str(callback.curve["checkpoint-6"].error)
    assert len(list(stream)) == len(IDS)


def test_an_estimate_that_fails_leaves_a_point_without_a_number(tmp_path: Path) -> None:
    callback = LLCCallback(data=str(tmp_path / "nowhere.txt"), every=6, **QUICK)
    trainer = trainer_in(tmp_path / "run", [callback])
    trainer.train()
    assert trainer.state.global_step == 6
    assert callback.curve is not None
    assert callback.curve["checkpoint-6"].llc is None
    assert "nowhere.txt" in str(callback.curve["checkpoint-6"].error)


def test_text_needs_the_tokenizer_of_the_trainer(tmp_path: Path) -> None:
    trainer = trainer_in(tmp_path / "run")
    trainer.processing_class = trainer.callback_handler.processing_class = make_tokenizer()
    callback = LLCCallback(trainer, sentences(200), every=6, **QUICK)
    trainer.add_callback(callback)
    trainer.train()
    assert callback.curve is not None
    assert callback.curve["checkpoint-6"].llc is not None


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"every": 5, "data": None}, r"needs the Trainer or data"),
        ({"every": 0}, r"every must be ≥ 1, got 0"),
        ({"every": 5, "gama": 3.0}, r"LLCCallback has no setting gama.*gamma"),
        ({"every": 5, "gamma": -1.0}, r"gamma must be"),
    ],
)
def test_settings_that_make_no_sense_are_refused_at_once(given: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        LLCCallback(**{"data": IDS, **given})


def test_rows_of_several_lengths_are_joined_without_their_padding() -> None:
    rows = [
        {"input_ids": [5, 6, 7, 0], "attention_mask": [1, 1, 1, 0]},
        {"input_ids": [8, 9, 1, 2], "attention_mask": [1, 1, 1, 1]},
    ]
    assert packed(rows, 0, 64, 0).tolist() == [[5, 6, 7, 0], [8, 9, 1, 2]]
    assert packed(rows, 99, 64, 0).tolist() == [[5, 6, 7, 99], [8, 9, 1, 2]]
    assert packed(rows, 99, 3, 0).tolist() == [[5, 6, 7], [99, 8, 9], [1, 2, 99]]
    assert packed([rows[1], rows[1]], None, 64, 1).tolist() == [[8, 9, 1, 2]]
    with pytest.raises(SettingsError, match=r"3 to 4 tokens, and there is no EOS"):
        packed(rows, None, 64, 0)
    with pytest.raises(SettingsError, match="has no tokens"):
        packed([], 0, 64, 0)


@pytest.mark.parametrize("spread", ["fsdp", "deepspeed"])
def test_a_model_that_no_process_has_is_refused_before_training(tmp_path: Path, spread: str) -> None:
    arguments = SimpleNamespace(output_dir=str(tmp_path), **{spread: "full_shard"})
    state = SimpleNamespace(global_step=0)
    with pytest.raises(SettingsError, match="spread over devices; run hf-llc scan"):
        LLCCallback(data=IDS, every=1).on_train_begin(arguments, state, None, model=make_model())  # type: ignore[arg-type]


def test_a_module_that_transformers_does_not_save_is_refused_before_training(tmp_path: Path) -> None:
    arguments, state = SimpleNamespace(output_dir=str(tmp_path)), SimpleNamespace(global_step=0)
    with pytest.raises(SettingsError, match="models of transformers and peft, and this is a Linear"):
        LLCCallback(data=IDS, every=1).on_train_begin(arguments, state, None, model=torch.nn.Linear(2, 2))  # type: ignore[arg-type]


SCRIPT = """
import sys
from pathlib import Path
import torch
from hf_llc.integrations import LLCCallback
from tests.integrations.test_trainer import QUICK, trainer_in
trainer = trainer_in(Path(sys.argv[1]), ddp_backend="gloo")
trainer.add_callback(LLCCallback(trainer, every=3, **QUICK))
trainer.train()
# A rank whose process group is still there when the interpreter ends may be aborted.
torch.distributed.barrier()
torch.distributed.destroy_process_group()
"""


def test_one_of_two_processes_estimates_while_the_other_waits(tmp_path: Path) -> None:
    script = tmp_path / "train.py"
    script.write_text(SCRIPT)
    launch = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2", "--standalone"]
    done = subprocess.run(
        [*launch, str(script), "run"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    points = hf_llc.load(tmp_path / "run/llc").points
    assert [point.step for point in points] == [3, 6]
    assert all(point.llc is not None for point in points)
