"""The demonstration, much smaller but by the same code: what it leaves on disk, and that it says what was computed."""

import socket
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from huggingface_hub import ModelCard, ModelCardData
from transformers import AutoModelForCausalLM, AutoTokenizer

from hf_llc.errors import LaunchError, ResourceError
from hf_llc.report.load import load_run
from hf_llc.results.estimate import Estimate
from hf_llc.results.interpretation import agreement
from hf_llc.results.jsonl import curve_from
from hf_llc.results.progress import Observer
from hf_llc.scans.demo import MARKER, Demonstration, DemoSize, demonstrate, prose
from hf_llc.settings.sampler import SamplerSettings
from hf_llc.tasks.text_generation.toy_model import Shape
from hf_llc.tasks.text_generation.toy_training import TrainingSettings
from tests.hub_server.environment import use_hub

SIZE = DemoSize(
    documents=12,
    vocabulary=280,
    shape=Shape(layers=1, width=16, heads=2, context=16),
    training=TrainingSettings(batch_size=8, lr=0.02, warm_up=2),
    checkpoints=(0, 1, 2, 4, 16),
    max_sequences=48,
    sampler=SamplerSettings(chains=2, draws=8, burn_in=2, batch_size=4, threads=1, checks=False),
)


class Listener(Observer):
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def tell(self, message: str) -> None:
        self.told.append(message)


@pytest.fixture(scope="module", autouse=True)
def unplugged(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """An empty cache, no token, and a network that fails at the first connection."""

    def refuse(*_: Any) -> None:
        raise AssertionError("the demonstration reached for the network")

    with pytest.MonkeyPatch.context() as patch:
        use_hub(patch, "http://127.0.0.1:9", tmp_path_factory.mktemp("home"), token=None)
        patch.setattr(socket.socket, "connect", refuse)
        patch.delenv("WORLD_SIZE", raising=False)
        yield


@pytest.fixture(scope="module")
def points() -> list[Estimate]:
    """What `on_point` was called with."""
    return []


@pytest.fixture(scope="module")
def demonstration(tmp_path_factory: pytest.TempPathFactory, points: list[Estimate]) -> Demonstration:
    """The demonstration, finished; its folder is not to be changed."""
    return demonstrate(tmp_path_factory.mktemp("someone") / "demo", processes=1, on_point=points.append, size=SIZE)


def test_the_prose_is_that_of_the_standard_library() -> None:
    documents = prose()
    assert len(documents) == len(set(documents)) > 50
    assert sum(map(len, documents)) > 300_000
    assert prose(3) == documents[:3]


def test_there_is_an_estimate_for_each_checkpoint_in_order(
    demonstration: Demonstration, points: list[Estimate]
) -> None:
    assert [result.step for result in demonstration.estimates] == list(SIZE.checkpoints)
    assert points == list(demonstration.estimates)
    assert all(result.llc is not None for result in demonstration.estimates)


def test_the_estimates_share_settings_and_text(demonstration: Demonstration) -> None:
    first = demonstration.estimates[0]
    assert {result.settings for result in demonstration.estimates} == {first.settings}
    assert {result.dataset for result in demonstration.estimates} == {first.dataset}
    assert len({result.sha for result in demonstration.estimates}) == len(demonstration.estimates)
    assert (first.settings.n, first.settings.context_length) == (48, 16)


def test_the_model_learns(demonstration: Demonstration) -> None:
    losses = [result.init_loss for result in demonstration.estimates]
    assert losses[0] == pytest.approx(torch.tensor(280.0).log().item(), abs=0.6)
    assert losses[-1] < losses[0] - 0.5


def test_each_checkpoint_loads_with_its_tokenizer(demonstration: Demonstration) -> None:
    folders = sorted(path.name for path in (demonstration.folder / "checkpoints").iterdir() if path.is_dir())
    assert folders == sorted(f"step{step}" for step in SIZE.checkpoints)
    for name in folders:
        model = AutoModelForCausalLM.from_pretrained(demonstration.folder / "checkpoints" / name)
        tokenizer = AutoTokenizer.from_pretrained(demonstration.folder / "checkpoints" / name)
        assert model.config.model_type == "gpt_neox"
        assert model.config.vocab_size == len(tokenizer) == 280


def test_the_results_file_holds_the_estimates_without_paths(demonstration: Demonstration) -> None:
    curve = curve_from(demonstration.results.read_text(encoding="utf-8"), ".")
    stored = [point.estimate for point in curve.points if point.estimate is not None]
    assert curve == load_run(demonstration.folder)
    assert [result.llc for result in stored] == [result.llc for result in demonstration.estimates]
    assert [result.diagnostics for result in stored] == [result.diagnostics for result in demonstration.estimates]
    assert [result.model for result in stored] == [f"checkpoints/step{step}" for step in SIZE.checkpoints]
    assert all((demonstration.folder / result.run_dir).is_dir() for result in stored)
    assert {result.dataset.id for result in stored} == {"text.jsonl"}


def test_nothing_that_is_published_names_a_folder_of_this_machine(demonstration: Demonstration) -> None:
    for path in (demonstration.card, demonstration.results):
        assert demonstration.folder.parent.name not in path.read_text(encoding="utf-8")


def test_the_picture_is_a_png_of_some_size(demonstration: Demonstration) -> None:
    content = demonstration.picture.read_bytes()
    assert content.startswith(b"\x89PNG\r\n\x1a\n")
    assert len(content) > 20_000


def test_the_card_holds_the_last_estimate(demonstration: Demonstration) -> None:
    data = ModelCard.load(demonstration.card).data
    assert isinstance(data, ModelCardData)
    (entry,) = data.eval_results or []
    last = demonstration.estimates[-1]
    assert last.llc is not None
    assert last.stderr is not None
    assert entry.metric_type == "llc"
    assert entry.metric_value == pytest.approx(last.llc, abs=0.06 * last.stderr)
    assert entry.metric_args is not None
    assert entry.metric_args["stderr"] == pytest.approx(last.stderr, rel=0.06)
    assert entry.metric_args["model_sha"] == last.sha
    assert entry.dataset_type == "local"
    assert entry.dataset_revision == last.dataset.revision


def test_the_card_has_a_row_per_checkpoint_and_shows_the_picture(demonstration: Demonstration) -> None:
    text = demonstration.card.read_text(encoding="utf-8")
    rows = [line.split(" | ") for line in text.splitlines() if line.startswith("| step")]
    assert [row[1] for row in rows] == [str(step) for step in SIZE.checkpoints]
    assert [row[2] for row in rows] == [f"{result.init_loss:.4f}" for result in demonstration.estimates]
    for row, result in zip(rows, demonstration.estimates, strict=True):
        value, _, error = row[3].partition(" ± ")
        assert result.llc == pytest.approx(float(value), abs=float(error) / 2)
    assert f"]({demonstration.picture.relative_to(demonstration.folder)})" in text


def test_the_same_command_again_trains_and_samples_nothing(demonstration: Demonstration) -> None:
    before = {path: path.stat().st_mtime_ns for path in demonstration.folder.rglob("model.safetensors")}
    parts = {path: path.stat().st_mtime_ns for path in demonstration.folder.rglob("chains/*.json")}
    assert len(before) == len(SIZE.checkpoints)
    assert len(parts) == 2 * len(SIZE.checkpoints)
    picture = demonstration.picture.read_bytes()
    again = demonstrate(demonstration.folder, processes=1, size=SIZE)
    assert again.training_seconds is None
    assert [result.llc for result in again.estimates] == [result.llc for result in demonstration.estimates]
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert {path: path.stat().st_mtime_ns for path in parts} == parts
    assert demonstration.picture.read_bytes() == picture


def test_a_training_that_was_cut_short_is_made_again_to_the_same_weights(
    demonstration: Demonstration, tmp_path: Path
) -> None:
    copy = demonstrate(tmp_path, processes=1, size=replace(SIZE, checkpoints=(0, 1, 16)))
    weights = copy.folder / "checkpoints" / "step16" / "model.safetensors"
    assert weights.read_bytes() == (demonstration.folder / "checkpoints" / "step16" / "model.safetensors").read_bytes()
    weights.unlink()
    (copy.folder / MARKER).write_text("")
    listener = Listener()
    again = demonstrate(tmp_path, processes=1, observer=listener, size=replace(SIZE, checkpoints=(0, 1, 16)))
    assert again.training_seconds is not None
    assert any(line.startswith("Training a GPT-NeoX") for line in listener.told)
    assert [result.llc for result in again.estimates] == [result.llc for result in copy.estimates]


def test_the_last_checkpoint_by_draws_is_cross_checked_by_chains_of_sgld(tmp_path: Path) -> None:
    draws = SamplerSettings(sampler="importance", chains=2, draws=4, gamma=400.0, batch_size=8, threads=1)
    listener = Listener()
    size = replace(SIZE, checkpoints=(0, 4), sampler=draws)
    result = demonstrate(tmp_path, processes=1, observer=listener, size=size)
    first, last = result.estimates
    assert first.cross_check is None
    assert last.cross_check is not None
    assert last.cross_check["method"] == "sgld"
    (line,) = [line for line in listener.told if line.startswith("Cross-check of step4: ")]
    assert line == f"Cross-check of step4: {agreement(last)}."
    assert "agree" in line
    stored = curve_from(result.results.read_text(encoding="utf-8"), ".").points[-1].estimate
    assert stored is not None
    assert stored.cross_check == last.cross_check
    chains = sorted(result.folder.glob("runs/step4/cross-check/*.json"))
    times = [path.stat().st_mtime_ns for path in chains]
    again = demonstrate(tmp_path, processes=1, size=size)
    assert again.estimates[-1].llc == last.llc
    assert again.estimates[-1].cross_check == last.cross_check
    assert len(times) == 4
    assert [path.stat().st_mtime_ns for path in chains] == times


def test_chains_are_not_cross_checked(demonstration: Demonstration) -> None:
    assert demonstration.estimates[-1].cross_check is None


@pytest.mark.parametrize("name", ["README.md", "text.jsonl", "llc"])
def test_files_of_somebody_else_are_not_written_over(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text("mine")
    with pytest.raises(ResourceError, match=f"holds another {name}; choose a new folder with `output_dir`"):
        demonstrate(tmp_path, size=SIZE)
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [(name, "mine")]


def test_a_rank_of_somebody_elses_launch_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hf_llc.execution.distributed.world.launched", lambda: True)
    with pytest.raises(LaunchError, match="without a launcher"):
        demonstrate(tmp_path, size=SIZE)
    assert not any(tmp_path.iterdir())


def test_the_default_size_is_that_of_the_documentation() -> None:
    size = DemoSize()
    assert size.checkpoints[:10] == (0, 1, 2, 4, 8, 16, 32, 64, 128, 256)
    assert len(size.checkpoints) >= 10
    assert size.training.batch_size * size.checkpoints[-1] > size.max_sequences
