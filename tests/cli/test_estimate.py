"""`hf-llc estimate` on files of this disk: every form of its output, what it leaves behind, and failed chains."""

import json
import math
import re
import sys
from dataclasses import asdict, replace
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from hf_llc import DataSettings, Estimate, SamplerSettings, estimate
from hf_llc.execution.store import RunStore
from hf_llc.results.estimate import ChainTrace, Diagnostics, Status
from hf_llc.settings.resolved import ResolvedSettings
from tests.helpers.command_line import Ran, Run, files_of, refused
from tests.helpers.estimates import estimate as made_up
from tests.helpers.tiny_model import WEIGHTS

pytestmark = pytest.mark.usefixtures("blank_pictures")

KEYS = {
    "schema", "model", "revision", "sha", "step", "llc", "stderr", "verdict", "verdict_reason", "settings", "choices",
    "diagnostics", "dataset", "chains", "init_loss", "tokens", "versions", "seconds", "run_dir",
    "cross_check", "init_loss_stderr", "base_model", "base_sha", "subfolder",
}  # fmt: skip
SETTINGS = {
    "n_beta", "gamma", "lr", "sampler", "chains", "draws", "burn_in", "thin", "batch_size", "context_length", "n",
    "seed",
}  # fmt: skip
DIAGNOSTICS = {"r_hat", "ess", "delta_loss", "distance", "free_distance"}


def break_chains(run_dir: Path, *numbers: int) -> None:
    """The chains' files, as a chain leaves them that met NaN at step 5."""
    store = RunStore(run_dir, pytest.fail)
    for number in numbers:
        payload = store.read(f"chains/{number:03d}")
        assert payload is not None
        trace = ChainTrace.from_dict(payload)
        losses = (*trace.losses[:5], float("nan"))
        failed = replace(trace, status=Status.NONFINITE, failed_at=5, losses=losses, squared_distances=())
        store.write(f"chains/{number:03d}", failed.to_dict())


def test_json_is_one_object_with_the_documented_keys(small: Run, tiny: Path, text: Path) -> None:
    ran = small("--json", "--seed", 3)
    assert ran.code == 0
    result = ran.json
    assert result.keys() == KEYS
    assert result["settings"].keys() >= SETTINGS
    assert result["diagnostics"].keys() >= DIAGNOSTICS
    assert result["dataset"].keys() >= {"id", "revision", "split", "fingerprint"}
    assert [set(chain) >= {"chain", "llc", "status"} for chain in result["chains"]] == [True, True]
    assert result["seconds"].keys() == {"load", "anchor", "sampling", "total"}
    assert (result["schema"], result["model"], result["revision"]) == (1, str(tiny), None)
    assert result["dataset"]["id"] == str(text)
    assert (result["settings"]["chains"], result["settings"]["draws"], result["settings"]["seed"]) == (2, 8, 3)
    assert result["sha"].startswith("sha256:")


@pytest.mark.usefixtures("real_pictures")
def test_json_agrees_with_the_files_of_the_run(small: Run) -> None:
    result = small("--json").json
    run_dir = Path(result["run_dir"])
    store = RunStore(run_dir, pytest.fail)
    assert store.read("estimate") == result
    traces = [ChainTrace.from_dict(store.read(f"chains/{chain:03d}") or {}) for chain in range(2)]
    settings = ResolvedSettings(**result["settings"])
    means = [sum(trace.draws(settings)) / 8 for trace in traces]
    for chain, mean in zip(result["chains"], means, strict=True):
        assert chain["llc"] == pytest.approx(settings.n_beta * mean, rel=1e-12)
    assert result["llc"] == pytest.approx(settings.n_beta * sum(means) / 2, rel=1e-12)
    anchors = [store.read(path.relative_to(run_dir).with_suffix("").as_posix()) for path in run_dir.glob("anchor/*")]
    losses = [loss for part in anchors if part is not None for loss in part["losses"]]
    assert len(losses) == settings.n
    assert result["init_loss"] == pytest.approx(sum(losses) / len(losses), rel=1e-12)
    assert (run_dir / "traces.png").read_bytes().startswith(b"\x89PNG")


def test_json_agrees_with_the_python_api(small: Run, tiny: Path, text: Path, tmp_path: Path) -> None:
    plain = {"gradient": "minibatch", "batches": "independent"}
    sampler = SamplerSettings(batch_size=4, chains=2, draws=8, burn_in=2, checks=False, **plain)  # type: ignore[arg-type]
    record = estimate(str(tiny), DataSettings(dataset=str(text)), sampler, output_dir=tmp_path / "api").to_dict()
    printed = small("--json").json
    for name in ("seconds", "run_dir"):
        del record[name], printed[name]
    assert printed == record


def test_stderr_explains_every_choice(small: Run) -> None:
    ran = small("--json", "--gamma", 100)
    assert ran.err.splitlines() == list(ran.json["choices"].values())
    assert ran.json["choices"].keys() == {"n_beta", "start", "sampler", "lr"}
    assert f"lr = {ran.json['settings']['lr']:.2g}" in ran.err


def test_the_human_table_holds_the_number_its_error_and_its_verdict(small: Run, tiny: Path) -> None:
    result = small("--json").json
    table = small()
    assert table.code == 0
    lines = table.out.splitlines()
    assert lines[0].startswith(f"{tiny} ({result['sha'][7:19]})")
    rows = {line[:12].strip(): line[12:].strip() for line in lines[1:]}
    value, _, error = rows["LLC"].split("(")[0].partition("±")
    assert float(value) == pytest.approx(result["llc"], abs=float(error) / 10)
    assert float(error) == pytest.approx(result["stderr"], rel=0.05)
    verdict, _, reason = rows["verdict"].partition(": ")
    flags: Any = import_module("hf_llc.cli.flags")
    assert verdict == result["verdict"]
    assert flags.with_flags(result["verdict_reason"]).startswith(reason)
    assert rows["run folder"] == result["run_dir"]
    assert {"per chain", "loss at w*", "distance", "mixing", "settings", "data", "seconds"} <= rows.keys()


def test_agent_output_is_one_flat_key_and_value_a_line(small: Run) -> None:
    result = small("--json").json
    pairs = dict(line.split("=", 1) for line in small("--format", "agent").out.splitlines())
    assert pairs["llc"] == str(result["llc"])
    assert pairs["settings.lr"] == str(result["settings"]["lr"])
    assert pairs["revision"] == ""
    assert json.loads(pairs["chains"]) == result["chains"]
    assert {key.split(".")[0] for key in pairs} == KEYS


def test_quiet_prints_the_number_alone(small: Run) -> None:
    result = small("--json").json
    assert small("-q") == Ran(0, f"{result['llc']:.6g}\n", "")
    assert small("--format", "quiet") == Ran(0, f"{result['llc']:.6g}\n", "")


def test_the_help_names_every_option_once(run: Run) -> None:
    ran = run("estimate", "--help-all")
    assert (ran.code, ran.err) == (0, "")
    sampler = [name.removesuffix("_seconds") for name in asdict(SamplerSettings())]
    names = [*sampler, "revision", "gguf-file", "dataset", "text-column", "num-processes", "dry-run"]
    for name in names:
        assert f"--{name.replace('_', '-')}" in ran.out
    for panel in ("Model", "Data", "Sampling", "Machine", "Output"):
        assert f"─ {panel} ─" in ran.out


def test_the_same_command_again_recomputes_nothing(small: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    first = small("--json").json
    before = files_of(Path(first["run_dir"]))
    assert {"inputs.json", "resolved.json", "chains/000.json", "chains/001.json"} < before.keys()
    monkeypatch.setattr(
        "hf_llc.tasks.text_generation.task.load_model", lambda *_: pytest.fail("the model was loaded again")
    )
    second = small("--json").json
    assert files_of(Path(first["run_dir"])) == before
    assert {**second, "seconds": 0} == {**first, "seconds": 0}


def test_the_run_is_kept_under_model_identity_and_key(small: Run, tiny: Path, tmp_path: Path) -> None:
    result = small("--json").json
    label = "__".join(tiny.parts[-2:])
    root = tmp_path / "work" / "hf-llc-runs"
    assert Path(result["run_dir"]).parent == root / label / result["sha"][7:19]
    other = small("--json", "--seed", 1).json
    assert Path(other["run_dir"]).parent == Path(result["run_dir"]).parent
    assert other["run_dir"] != result["run_dir"]


def test_the_folder_asked_for_is_the_folder_used(small: Run, tmp_path: Path) -> None:
    result = small("--json", "--output-dir", tmp_path / "here").json
    assert result["run_dir"] == str(tmp_path / "here")
    assert (tmp_path / "here" / "estimate.json").is_file()
    assert not (tmp_path / "work" / "hf-llc-runs").exists()


def test_a_damaged_part_is_named_and_made_again(small: Run) -> None:
    result = small("--json").json
    path = Path(result["run_dir"]) / "chains" / "001.json"
    whole = json.loads(path.read_bytes())
    path.write_bytes(path.read_bytes()[:200])
    again = small("--json")
    assert again.code == 0
    assert f"{path} is damaged" in again.err
    assert again.json["llc"] == result["llc"]
    del whole["payload"]["seconds"]
    results = json.loads(path.read_bytes())["payload"]
    del results["seconds"]
    assert results == whole["payload"]


def test_one_failed_chain_of_four_is_named_and_left_out(small: Run) -> None:
    healthy = small("--json", "--chains", 4).json
    break_chains(Path(healthy["run_dir"]), 2)
    ran = small("--json", "--chains", 4)
    assert ran.code == 0
    assert ran.json["chains"][2] == {"chain": 2, "llc": None, "status": "nonfinite", "failed_at": 5}
    rest = [chain["llc"] for chain in healthy["chains"] if chain["chain"] != 2]
    assert ran.json["llc"] == pytest.approx(sum(rest) / 3, rel=1e-12)
    assert ran.json["verdict"] == "step-too-large"
    assert "1 of 4 chains became inf or NaN and were left out" in ran.json["verdict_reason"]
    assert "per chain   " in (table := small("--chains", 4).out)
    assert ", failed, " in table


@pytest.mark.parametrize("failed", [(1,), (0, 1)])
def test_fewer_than_two_healthy_chains_give_no_number(small: Run, failed: tuple[int, ...]) -> None:
    result = small("--json").json
    break_chains(Path(result["run_dir"]), *failed)
    ran = small("--json")
    assert ran.code == 1
    assert (ran.json["llc"], ran.json["stderr"], ran.json["verdict"]) == (None, None, "diverged")
    error = ran.err.splitlines()[-1]
    assert error.startswith("Error: No number: fewer than two of 2 chains stayed finite")
    assert [f"chain {number} at step 5" in error for number in (0, 1)] == [number in failed for number in (0, 1)]
    assert "Lower --lr" in error
    table = small()
    assert table.code == 1
    assert "no number" in table.out
    assert small("-q") == Ran(1, "", error + "\n")


def test_a_chain_that_blows_up_by_itself_is_seen(small: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hf_llc.measures.llc.resolution.check_lr", lambda *_: None)
    ran = small("--json", "--lr", 100, "--gamma", 0, "--draws", 40, "--sampler", "sgld")
    assert ran.code == 1
    assert ran.json["llc"] is None
    assert [chain["status"] for chain in ran.json["chains"]] == ["nonfinite", "nonfinite"]
    assert ran.json["diagnostics"].keys() == set(Diagnostics.__dataclass_fields__)


def test_what_was_printed_can_be_read_back(small: Run) -> None:
    ran = small("--json")
    assert Estimate.from_dict(ran.json).to_dict() == ran.json


def test_a_dry_run_of_a_local_model_samples_nothing(small: Run, tmp_path: Path) -> None:
    ran = small("--dry-run", "--json")
    assert ran.code == 0
    assert ran.json["download_bytes"] == 0
    assert ran.json["parameters"] == WEIGHTS
    assert ran.json["steps"] == 10
    assert not (tmp_path / "work" / "hf-llc-runs").exists()
    table = small("--dry-run").out
    assert "nothing was run" in " ".join(table.split())
    assert f"{WEIGHTS:,}" in table


def test_a_terminal_shows_a_bar_with_the_loss_the_number_so_far_and_the_time_left(
    small: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TTY_COMPATIBLE", "1")
    ran = small("--json", "--draws", 100)
    drawn = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", ran.err).replace("\r", "\n")
    assert re.search(r"sampling .* \d+/204 .* loss 5\.\d+ .*llc -?\d\.\d+ 0:00:\d\d", drawn)
    assert ran.json["settings"]["draws"] == 100
    assert small("-q", "--draws", 100).err == ""


def test_a_cross_check_adds_a_number_without_sampling_and_changes_no_other(small: Run) -> None:
    plain = small("--json", "--gamma", 1000).json
    checked = small("--json", "--gamma", 1000, "--cross-check", "lanczos").json
    assert checked["run_dir"] == plain["run_dir"]
    assert checked["llc"] == plain["llc"]
    assert plain["cross_check"] is None
    result = checked["cross_check"]
    assert result["method"] == "lanczos"
    assert result["llc"] is None or result["stderr"] > 0
    assert result["highest"] == pytest.approx(checked["diagnostics"]["curvature"], rel=0.5)
    assert "without sampling" in small("--gamma", 1000, "--cross-check", "lanczos").out
    refused(small("--cross-check", "hessian"), 2, "must be one of lanczos, draws")


def test_a_cross_check_by_independent_draws_agrees_and_changes_no_other_number(small: Run) -> None:
    plain = small("--json", "--gamma", 1000).json
    checked = small("--json", "--gamma", 1000, "--cross-check", "draws").json
    assert checked["llc"] == plain["llc"]
    other = checked["cross_check"]
    assert other["method"] == "draws"
    joint = math.hypot(other["stderr"], checked["stderr"])
    assert abs(other["llc"] - checked["llc"]) < 4 * joint
    assert other["stderr"] < checked["stderr"]
    assert "pairs of independent draws" in small("--gamma", 1000, "--cross-check", "draws").out


def test_a_wanted_error_adds_chains_and_ends_with_the_numbers_of_as_many_at_once(small: Run) -> None:
    asked = ("--json", "--gamma", 1000, "--threads", 1, "--draws", 12)
    ran = small(*asked, "--target-stderr", 1e-3, "--max-chains", 20)
    result = ran.json
    assert result["settings"]["chains"] == 20
    assert "is wanted" in ran.err
    at_once = small(*asked, "--chains", 20, "--output-dir", "at-once").json
    assert (result["llc"], result["stderr"]) == (at_once["llc"], at_once["stderr"])
    refused(small("--target-stderr", 0), 2, "--target-stderr must be > 0, got 0.0")


def test_the_result_is_reported_to_a_tracker(small: Run) -> None:
    ran = small("--output-dir", "out", "--report-to", "tensorboard", "--json")
    (event,) = Path("out/tensorboard").iterdir()
    result = EventAccumulator(str(event))
    result.Reload()
    assert [scalar.value for scalar in result.Scalars("llc")] == pytest.approx([ran.json["llc"]])


def test_a_tracker_that_is_not_installed_is_said_before_anything_is_done(
    small: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "trackio", None)
    refused(small("--output-dir", "out", "--trackio", "mine"), 2, r"pip install 'hf-llc\[trackio\]'")
    assert not Path("out").exists()


@pytest.mark.parametrize(("column", "told"), [("text", ""), ("story", ", column story")])
def test_a_column_that_is_not_called_text_is_named(column: str, told: str) -> None:
    result = made_up(0)
    result = replace(result, dataset=replace(result.dataset, text_column=column))
    row = dict(import_module("hf_llc.cli.estimate_table").rows(result))["data"]
    assert f" {result.dataset.split}{told}, tokens " in row


def test_a_recipe_gives_what_no_option_does_and_the_result_names_it(small: Run) -> None:
    ran = small("--recipe", "rllc-2024", "--gamma", "300", "--json")
    settings = ran.json["settings"]
    assert (settings["lr"], settings["n_beta"], settings["start"]) == (1e-3, 30, "anchor")
    assert (settings["gamma"], settings["draws"]) == (300, 8)
    sentence = ran.json["choices"]["recipe"]
    assert "Wang et al. 2024 (arXiv 2410.02984), code, with another value of gamma, " in sentence
    assert "recipe" in small("--recipe", "rllc-2024", "--gamma", "300", "--format", "human").out


def test_recipes_are_listed(run: Run) -> None:
    listed = run("recipes", "--format", "human").out
    assert "smdl-2025-6.9b" in listed
    assert "arXiv 2510.12077" in listed
    assert "susceptibility-2025" in run("recipes", "-q").out.split()
    (one,) = [each for each in json.loads(run("recipes", "--json").out) if each["name"] == "smdl-2025-1b"]
    assert one["relaxation"] == pytest.approx(0.9)
    assert one["resolution"] == pytest.approx(10)
