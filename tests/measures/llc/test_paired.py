"""Differences of λ̂ from common random numbers: exact answers, real runs, and runs that cannot be paired."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from hf_llc import DataSettings, Estimate, SamplerSettings, estimate
from hf_llc.errors import NotFoundError, SettingsError
from hf_llc.execution.store import RunStore
from hf_llc.measures.llc.draws.amounts import Amount
from hf_llc.measures.llc.draws.rounds import Sample
from hf_llc.measures.llc.paired import compare_paired, difference_of_samples
from hf_llc.measures.llc.validation.exact import quadratic_llc
from hf_llc.measures.llc.validation.problems import quadratic
from hf_llc.sampling.draws.prior import PriorDraws
from hf_llc.sampling.draws.statistics import summarise_draws
from tests.helpers.tiny_model import jsonl, save_neighbours

WIDE = [8.0, 2.0, *[0.3] * 40, *[0.01] * 200, *[0.0] * 100]
N_BETA, GAMMA = 100.0, 1000.0
SETTINGS = SamplerSettings(gamma=2000.0, draws=4, sampler="importance", batch_size=16)


def sample_of(curvatures: list[float], seed: int, amount: Amount) -> Sample:
    """So many draws of a quadratic loss."""
    objective = quadratic(curvatures)
    draws = PriorDraws(objective, objective, gamma=GAMMA, batch_size=1, seed=seed)
    return Sample(
        losses=[draws.losses(pair) for pair in range(amount.losses)],
        gradients=[draws.gradients(pair) for pair in range(amount.gradients)],
        bends=[draws.bend(number) for number in range(amount.bends)],
        seconds=0.0,
    )


def test_the_truth_is_covered_and_the_error_at_most_half_the_unpaired_one() -> None:
    """40 seeds: with 95 % of differences within two errors, fewer than 35 of 40 would occur once in 2,500 tries."""
    near = [1.05 * curvature for curvature in WIDE]
    truth = quadratic_llc(near, N_BETA, GAMMA) - quadratic_llc(WIDE, N_BETA, GAMMA)
    within, ratios = 0, []
    for seed in range(40):
        # The second sample is longer: what both have is used.
        samples = [sample_of(near, seed, Amount(16, 8, 0)), sample_of(WIDE, seed, Amount(24, 8, 0))]
        difference, stderr = difference_of_samples(samples, n=1, n_beta=N_BETA, gamma=GAMMA) or (0.0, 0.0)
        within += abs(difference - truth) <= 2 * stderr
        summaries = [summarise_draws(each.losses, each.gradients, n=1, n_beta=N_BETA, gamma=GAMMA) for each in samples]
        ratios.append(stderr / sum((each.stderr or 0.0) ** 2 for each in summaries) ** 0.5)
    assert within >= 35
    assert sorted(ratios)[20] < 0.5


def test_jumps_leave_no_difference() -> None:
    samples = [sample_of(WIDE, 0, Amount(8, 4, 0))] * 2
    broken = [replace(pair, up=(1.0,), down=(1.0,)) for pair in samples[0].losses]
    steep = [replace(pair, rise=pair.radial + 1.0) for pair in samples[0].gradients]
    jumping = replace(samples[0], losses=broken, gradients=steep)
    assert difference_of_samples([samples[0], jumping], n=1, n_beta=N_BETA, gamma=GAMMA) is None


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two models near each other, `a` and `b`, and a text."""
    folder = tmp_path_factory.mktemp("paired")
    (folder / "text.jsonl").write_text(jsonl(200))
    save_neighbours(folder)
    return folder


def run_of(place: Path, name: str, folder: str, **settings: object) -> Estimate:
    """An estimate of one of the models, in a folder of its own."""
    data = DataSettings(dataset=str(place / "text.jsonl"))
    sampler = replace(SETTINGS, **settings)  # type: ignore[arg-type]
    return estimate(place / name, data, sampler, output_dir=place / folder, device="cpu", threads=1)


@pytest.fixture(scope="module")
def by_draws(place: Path) -> tuple[Estimate, Estimate]:
    return run_of(place, "a", "draws-a"), run_of(place, "b", "draws-b")


def test_models_near_each_other_have_a_small_error_by_draws(by_draws: tuple[Estimate, Estimate]) -> None:
    (paired,) = compare_paired(*by_draws)
    assert (paired.pairs, paired.reason) == (16, None)
    assert 0 < paired.stderr < paired.unpaired_stderr / 2
    assert paired.difference == pytest.approx((by_draws[0].llc or 0) - (by_draws[1].llc or 0))


def test_models_near_each_other_have_a_small_error_by_chains(place: Path) -> None:
    settings = {"sampler": "sgld", "lr": 1e-5, "burn_in": 4, "draws": 8, "checks": False}
    runs = [run_of(place, name, f"chains-{name}", **settings) for name in "ab"]
    (paired,) = compare_paired(*runs)
    assert (paired.pairs, paired.reason) == (4, None)
    assert 0 < paired.stderr < paired.unpaired_stderr / 2


def test_identical_weights_have_no_difference(place: Path, by_draws: tuple[Estimate, Estimate]) -> None:
    again = run_of(place, "a", "draws-again", seed=1)
    (paired,) = compare_paired(by_draws[0], again)
    assert (paired.difference, paired.stderr) == (0.0, 0.0)


def test_folders_of_one_commit_are_different_weights(tmp_path: Path, by_draws: tuple[Estimate, Estimate]) -> None:
    inputs = {"one": {"subfolder": "step1"}, "same": {"subfolder": "step1"}, "other": {"subfolder": "step2"}}
    inputs["file"] = {"subfolder": "step1", "gguf_file": "model.gguf"}
    runs = {}
    for name, place in inputs.items():
        shutil.copytree(by_draws[0].run_dir, tmp_path / name)
        RunStore(tmp_path / name, lambda message: None).write("inputs", {"sha": "1" * 40, **place})
        runs[name] = replace(by_draws[0], run_dir=str(tmp_path / name))
    assert compare_paired(runs["one"], runs["same"])[0].stderr == 0
    assert compare_paired(runs["one"], runs["other"])[0].stderr > 0
    assert compare_paired(runs["one"], runs["file"])[0].stderr > 0


def test_another_seed_leaves_the_unpaired_error_and_says_why(place: Path, by_draws: tuple[Estimate, Estimate]) -> None:
    (paired,) = compare_paired(by_draws[0], run_of(place, "b", "draws-seed", seed=1))
    assert paired.pairs == 0
    assert paired.stderr == paired.unpaired_stderr
    assert paired.reason == "different random numbers, since these differ: seed (0 and 1)"


def test_another_posterior_is_refused(place: Path, by_draws: tuple[Estimate, Estimate]) -> None:
    other = run_of(place, "b", "draws-gamma", gamma=3000.0)
    with pytest.raises(SettingsError, match=r"not comparable, since these differ: gamma \(2000 and 3000\)"):
        compare_paired(by_draws[0], other)


def test_a_run_that_was_moved_is_found_and_one_without_its_parts_is_not(
    place: Path, by_draws: tuple[Estimate, Estimate], tmp_path: Path
) -> None:
    for name in "ab":
        shutil.copytree(place / f"draws-{name}", tmp_path / name)
    (moved,) = compare_paired(tmp_path / "a", tmp_path / "b")
    assert moved.stderr == compare_paired(*by_draws)[0].stderr
    only = tmp_path / "only"
    only.mkdir()
    stored = json.loads((tmp_path / "a/estimate.json").read_text())
    (only / "estimate.json").write_text(json.dumps(stored))
    gone = replace(by_draws[0], run_dir=str(only))
    with pytest.raises(NotFoundError, match="does not hold the draws or chains"):
        compare_paired(gone, by_draws[1])
