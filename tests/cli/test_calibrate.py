"""`hf-llc calibrate` on a small trained model: every form of its output, and that estimate and scan take its file."""

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from hf_llc.results.progress import Observer
from hf_llc.scans.demo import CHECKPOINTS, prose, train_once
from hf_llc.settings.file import read_settings
from tests.helpers.command_line import Ran, Run, files_of, refused
from tests.helpers.tiny_model import sentences
from tests.hub_server.environment import use_hub
from tests.hub_server.server import HubServer
from tests.scans.test_demo import SIZE

KEYS = {
    "schema", "model", "revision", "sha", "step", "dataset", "dimension", "curvature", "trace_hessian", "sweep",
    "plateau", "plateau_reason", "flat", "steps", "steps_reason", "pilot", "target_stderr", "expected_stderr", "met",
    "precision", "budget", "gradients", "pilot_gradients", "settings", "reasons", "settings_file", "run_dir",
    "versions", "seconds", "base_model", "base_sha", "subfolder",
}  # fmt: skip

TARGET = 0.05


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `checkpoints/step4` and `step60` of a small model and its text, for reading only."""
    folder = tmp_path_factory.mktemp("trained")
    size = replace(SIZE, documents=30, checkpoints=(0, 4, 60), max_sequences=96)
    documents = prose(size.documents)
    (folder / "text.jsonl").write_text("".join(json.dumps({"text": each}) + "\n" for each in documents))
    with pytest.MonkeyPatch.context() as patch:
        use_hub(patch, "http://127.0.0.1:9", folder / "home")
        train_once(folder, documents, size, Observer())
    return folder


@pytest.fixture
def calibrate(run: Run, place: Path) -> Run:
    """`run("calibrate", …)` of the trained model in one process."""
    model, text = place / CHECKPOINTS / "step60", place / "text.jsonl"
    fixed = ["--max-sequences", 96, "--context-length", 16, "--batch-size", 8, "--threads", 1, "--num-processes", 1]
    return lambda *more: run("calibrate", model, "--dataset", text, *fixed, "--pilot-draws", 30, *more)


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the calibration that these tests share; the first one makes it."""
    return tmp_path_factory.mktemp("kept") / "calibration"


@pytest.fixture(scope="module")
def made() -> list[Ran]:
    """How the command of that calibration ended, once it has been run."""
    return []


@pytest.fixture
def first(calibrate: Run, kept: Path, made: list[Ran]) -> Ran:
    """How the command of that calibration ended."""
    if not made:
        made.append(calibrate("--output-dir", kept, "--json", "--target-stderr", TARGET))
    assert made[0].code == 0, made[0].err
    return made[0]


@pytest.fixture
def results(first: Ran) -> dict[str, Any]:
    """What that calibration prints as JSON."""
    return first.json


def test_json_is_one_object_with_the_documented_keys(results: dict[str, Any], kept: Path) -> None:
    assert results.keys() == KEYS
    assert results["schema"] == 1
    assert results["step"] == 60
    assert results["run_dir"] == str(kept)
    gammas = [point["gamma"] for point in results["sweep"]]
    assert gammas == sorted(gammas)
    assert gammas[-1] / gammas[0] > 100
    assert {path.name for path in kept.iterdir()} >= {"settings.yaml", "sweep.png", "sweep.svg", "calibration.json"}


def test_a_language_model_has_no_plateau_and_the_file_says_so(results: dict[str, Any]) -> None:
    assert results["plateau"] in {"none", "undecided"}
    assert results["plateau_reason"].startswith(("There is no plateau", "A plateau is neither"))
    slopes = [point["slope"] for point in results["sweep"] if point["slope"] is not None]
    assert len(slopes) >= 2
    assert all(-1.3 < slope < -0.6 for slope in slopes)
    text = " ".join(Path(results["settings_file"]).read_text(encoding="utf-8").replace("# ", " ").split())
    assert results["plateau_reason"] in text
    assert results["precision"] in text


def test_the_settings_file_holds_what_was_found(results: dict[str, Any], place: Path) -> None:
    path = Path(results["settings_file"])
    read = read_settings(path)
    assert {**read, "params": ()} == {**results["settings"], "params": ()}
    assert read["dataset"] == str(place / "text.jsonl")
    assert (read["context_length"], read["text_column"]) == (16, "text")
    # The JSON of the command is a settings file too.
    again = path.parent / "found.json"
    again.write_text(json.dumps(results))
    assert read_settings(again) == read


def test_an_estimate_with_the_file_has_the_wanted_error(run: Run, place: Path, results: dict[str, Any]) -> None:
    ran = run(
        "estimate", place / CHECKPOINTS / "step60", "--settings", results["settings_file"], "--threads", 1, "--json"
    )
    assert ran.code == 0, ran.err
    estimate = ran.json
    names = ("n_beta", "gamma", "lr", "sampler", "start", "burn_in", "chains", "draws", "thin", "batch_size", "seed")
    assert {name: estimate["settings"][name] for name in names} == {name: results["settings"][name] for name in names}
    assert estimate["dataset"]["fingerprint"] == results["dataset"]["fingerprint"]
    assert estimate["verdict"] == results["pilot"]["verdict"] == "converged"
    reached = estimate["stderr"] / estimate["llc"]
    # The step size's part is what is found of a bias: its noise on average, and by chance nearly nothing.
    assert results["expected_stderr"] / 3 < reached < 1.5 * results["expected_stderr"]
    apart = estimate["llc"] - results["pilot"]["llc"]
    assert abs(apart) < 4 * (estimate["stderr"] ** 2 + results["pilot"]["stderr"] ** 2) ** 0.5


def test_a_scan_with_the_file_is_at_its_settings(run: Run, place: Path, results: dict[str, Any]) -> None:
    file, fewer = results["settings_file"], ["--draws", 8, "--no-checks", "--threads", 1, "--num-processes", 1]
    ran = run("scan", place / CHECKPOINTS, "--revisions", "step4,step60", "--settings", file, *fewer, "--json")
    assert ran.code == 0, ran.err
    names = ("gamma", "lr", "n_beta", "sampler", "burn_in", "batch_size", "context_length")
    assert {name: ran.json["settings"][name] for name in names} == {name: results["settings"][name] for name in names}
    assert [point["step"] for point in ran.json["points"]] == [4, 60]


def test_the_table_names_what_was_found(calibrate: Run, kept: Path, results: dict[str, Any]) -> None:
    ran = calibrate("--output-dir", kept, "--target-stderr", TARGET)
    assert ran.code == 0
    rows = [line for line in ran.out.splitlines() if line[:1].isdigit()]
    assert [float(row.split()[1]) for row in rows] == pytest.approx([p["gamma"] for p in results["sweep"]], rel=0.01)
    flat = " ".join(ran.out.split())
    for result in (results["plateau_reason"], results["steps_reason"], results["precision"]):
        assert result in flat
    assert f"{results['pilot_gradients']:,} gradients of pilot chains" in flat
    assert ran.err.splitlines()[-1].startswith(f"Settings are in {results['settings_file']}")


def test_quiet_is_the_path_alone_and_agent_is_key_and_value(
    calibrate: Run, kept: Path, results: dict[str, Any]
) -> None:
    quiet = calibrate("--output-dir", kept, "-q")
    assert (quiet.out, quiet.err) == (f"{results['settings_file']}\n", "")
    agent = calibrate("--output-dir", kept, "--format", "agent")
    lines = dict(line.split("=", 1) for line in agent.out.splitlines())
    assert float(lines["settings.gamma"]) == results["settings"]["gamma"]
    assert lines["plateau"] == results["plateau"]


def test_what_it_will_cost_is_said_before_and_again_is_cheap(calibrate: Run, first: Ran, kept: Path) -> None:
    (line,) = (line for line in first.err.splitlines() if line.startswith("Pilot chains: about "))
    least, more = (int(count) for count in re.findall(r"(\d+) (?:gradients|more)", line.replace(",", "")))
    assert 0.9 * least <= first.json["pilot_gradients"] <= 1.5 * (least + more)
    before = {name: stat for name, stat in files_of(kept).items() if name != "calibration.json"}
    second = calibrate("--output-dir", kept, "--json", "--target-stderr", 0.2)
    assert {name: stat for name, stat in files_of(kept).items() if name != "calibration.json"} == before
    assert "Pilot chains" not in second.err
    assert {**second.json["pilot"]} == {**first.json["pilot"]}
    assert second.json["settings"]["draws"] <= first.json["settings"]["draws"]


@pytest.mark.parametrize(
    ("option", "code", "message"),
    [
        (["--gamma", "0"], 2, "needs --gamma and --n-beta above 0"),
        (["--n-beta", "0"], 2, "needs --gamma and --n-beta above 0"),
        (["--target-stderr", "0"], 2, "--target-stderr must be > 0, got 0.0: 0.02 asks for 2 %"),
        (["--target-stderr", "nan"], 2, "--target-stderr must be a finite number, got nan"),
        (["--budget", "0"], 2, "--budget must be ≥ 1, got 0"),
        (["--pilot-draws", "2"], 2, "--pilot-draws must be ≥ 8, got 2"),
        (["--sampler", "hmc"], 2, "--sampler must be one of auto"),
        (["--settings", "none.yaml"], 1, "No file none.yaml"),
        (["--dataset", "none.jsonl"], 1, "none.jsonl"),
    ],
)
def test_what_cannot_be_done_is_refused_in_words(calibrate: Run, option: list[str], code: int, message: str) -> None:
    refused(calibrate(*option), code, message)


def test_text_of_the_hub_is_pinned_however_it_was_spelled_and_settings_from_a_file_are_kept(
    run: Run, place: Path, hub: HubServer
) -> None:
    text = hub.add_dataset("org/text", {"train.jsonl": "".join(f'{{"text": "{s}"}}\n' for s in sentences(200))})
    text.tag("v1", "main")
    Path("base.yaml").write_text("gamma: 500\nchains: 2\ndraws: 999\nburn_in: 77\nseed: 4\n")
    small = ["--max-sequences", 32, "--context-length", 16, "--batch-size", 8, "--pilot-draws", 8, "--num-processes", 1]
    model = place / CHECKPOINTS / "step60"
    ran = run("calibrate", model, "--dataset", "org/text@v1", *small, "--settings", "base.yaml", "--json")
    assert ran.code == 0, ran.err
    settings = ran.json["settings"]
    assert (settings["dataset"], settings["dataset_revision"]) == ("org/text", text.at().sha)
    assert (settings["gamma"], settings["chains"], settings["seed"]) == (500.0, 2, 4)
    assert settings["draws"] != 999
    assert settings["burn_in"] != 77
    assert ran.json["reasons"]["gamma"] == "as asked"
    fewer = ["--draws", 8, "--burn-in", 2, "--no-checks", "--num-processes", 1]
    again = run("estimate", model, "--settings", ran.json["settings_file"], *fewer, "--json")
    assert again.code == 0, again.err
    assert again.json["dataset"] == ran.json["dataset"]
