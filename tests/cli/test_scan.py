"""`hf-llc scan` and `hf-llc show` over HTTP and on folders: points, duplicates, failures, and going on."""

import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from tests.helpers.command_line import SMALL, Ran, Run, files_of, refused
from tests.helpers.tiny_model import jsonl, read_files, save_tiny_model
from tests.hub_server.repository import Repository
from tests.hub_server.server import HubServer

pytestmark = pytest.mark.usefixtures("blank_pictures")

JSONL = jsonl(200)
SETTINGS = [*SMALL, "--gamma", "1000", "--num-processes", "1"]


@pytest.fixture(scope="session")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, bytes]]:
    """The files of three different checkpoints; only the last one has a tokenizer."""
    folder = tmp_path_factory.mktemp("series")
    return [read_files(save_tiny_model(folder / str(seed), seed, tokenizer=seed == 2)) for seed in range(3)]


@pytest.fixture
def series(hub: HubServer, checkpoints: list[dict[str, bytes]]) -> Repository:
    """`org/tiny`: step0, step1 with the weights of main and step4, step2 without weights, step3 broken, step4."""
    hub.add_dataset("org/text", {"train.jsonl": JSONL})
    repo = hub.add_model("org/tiny", checkpoints[2])
    repo.commit(checkpoints[0], "step0")
    repo.commit(checkpoints[2], "step1")
    repo.commit({"config.json": checkpoints[0]["config.json"]}, "step2")
    repo.commit({**checkpoints[0], "model.safetensors": b"broken"}, "step3")
    repo.commit(checkpoints[1], "step4")
    repo.commit(checkpoints[2], "step8")
    return repo


def scanned(run: Run, *more: object, code: int = 0) -> Ran:
    ran = run("scan", "org/tiny", "--dataset", "org/text", *SETTINGS, "--output-dir", "out", *more)
    assert ran.code == code, ran.err
    return ran


def by_name(ran: Ran) -> dict[str, dict[str, Any]]:
    return {point["revision"]: point for point in ran.json["points"]}


def test_every_checkpoint_is_a_point_or_says_why_not(run: Run, series: Repository) -> None:
    ran = scanned(run, "--json", code=1)
    points = by_name(ran)
    assert list(points) == ["step0", "step1", "step2", "step3", "step4", "step8"]
    assert {name: point["duplicate_of"] for name, point in points.items() if point["duplicate_of"]} == {
        "step8": "step1"
    }
    assert points["step8"]["llc"] == points["step1"]["llc"]
    assert "no weights" in points["step2"]["error"]
    assert "damaged" in points["step3"]["error"]
    assert [name for name, point in points.items() if point["llc"] is None] == ["step2", "step3"]
    assert len({points[name]["llc"] for name in ("step0", "step1", "step4")}) == 3
    assert points["step4"]["sha"] == series.at("step4").sha
    settings = [point["estimate"]["settings"] for point in points.values() if point["estimate"]]
    assert len({(s["n_beta"], s["gamma"], s["lr"], s["sampler"]) for s in settings}) == 1
    assert ran.json["settings"]["gamma"] == 1000
    assert ran.json["model"] == "org/tiny"


@pytest.mark.usefixtures("series")
def test_json_is_as_documented(run: Run) -> None:
    result = scanned(run, "--revisions", "step8,step0,step2", "--json", code=1).json
    assert set(result) == {"schema", "model", "settings", "dataset", "points", "run_dir", "versions", "checksum"}
    assert [point["step"] for point in result["points"]] == [0, 2, 8]
    documented = {"revision", "sha", "step", "tokens", "llc", "stderr", "verdict", "loss", "duplicate_of", "error"}
    for point in result["points"]:
        assert documented <= set(point)
        assert (point["llc"] is None) == (point["error"] is not None)
    assert result["points"][0]["estimate"]["settings"].items() >= result["settings"].items()
    assert result["run_dir"] == str(Path("out").resolve())
    assert {"torch", "transformers"} <= set(result["versions"])


@pytest.mark.usefixtures("series")
@pytest.mark.usefixtures("real_pictures")
def test_files_hold_the_same_rows(run: Run) -> None:
    points = by_name(scanned(run, "--json", code=1))
    rows = [json.loads(line) for line in Path("out/results.jsonl").read_text().splitlines()]
    assert rows == pq.read_table("out/results.parquet").to_pylist()
    assert [row["llc"] for row in rows] == [point["llc"] for point in points.values()]
    assert json.loads(Path("out/scan.json").read_text())["points"] == list(points.values())
    assert Path("out/llc.png").is_file()
    assert Path("out/llc.svg").read_bytes().startswith(b"<?xml")


@pytest.mark.usefixtures("series")
def test_a_finished_scan_is_resumed_without_work_and_more_revisions_add_to_it(run: Run, hub: HubServer) -> None:
    first = by_name(scanned(run, "--json", "--revisions", "step0,step1"))
    before = files_of(Path("out/points"))
    asked = len(hub.log)
    assert by_name(scanned(run, "--json", "--revisions", "step0,step1")) == first
    assert files_of(Path("out/points")) == before
    assert not [entry for entry in hub.log[asked:] if "/resolve/" in entry.path or "/tree/" in entry.path]
    more = by_name(scanned(run, "--json", "--revisions", "0..4", code=1))
    assert {name: more[name] for name in first} == first
    assert before.items() <= files_of(Path("out/points")).items()
    assert more["step4"]["estimate"]["settings"]["lr"] == first["step0"]["estimate"]["settings"]["lr"]


@pytest.mark.usefixtures("series")
def test_rows_appear_and_the_table_shows_what_failed(run: Run) -> None:
    ran = scanned(run, code=1)
    assert [line.split()[0] for line in ran.err.splitlines() if line.startswith("step")] == [
        "step2", "step3", "step0", "step1", "step8", "step4"
    ]  # fmt: skip
    table = {line.split()[0]: line for line in ran.out.splitlines() if line.startswith("step")}
    assert "failed: it has no weights" in table["step2"]
    assert "(weights of step1)" in table["step8"]
    (sparkline,) = [line for line in ran.out.splitlines() if line.startswith("λ̂ ")]
    assert "··" in sparkline
    last = ran.out.splitlines()[-1]
    assert ", step0: " in last
    assert "(also step1, " in last


@pytest.mark.usefixtures("series")
@pytest.mark.usefixtures("real_pictures")
def test_show_prints_the_same_and_redraws(run: Run) -> None:
    first = scanned(run, code=1)
    Path("out/llc.png").unlink()
    again = run("show", "out")
    assert (again.code, again.out) == (0, first.out)
    assert Path("out/llc.png").is_file()
    assert run("show", "out", "--json").json == json.loads(Path("out/scan.json").read_text())
    refused(run("show", "nowhere"), 1, "holds no finished run")


@pytest.mark.usefixtures("series")
def test_a_scan_of_nothing_usable_is_refused(run: Run) -> None:
    command = ["scan", "org/tiny", "--dataset", "org/text", *SETTINGS]
    refused(run(*command, "--revisions", "step2"), 1, "None of the chosen checkpoints")
    refused(run(*command, "--revisions", "step9"), 1, "no checkpoint step9; did you mean")


@pytest.mark.usefixtures("series")
def test_checkpoints_without_tokenizer_take_that_of_main(run: Run) -> None:
    ran = scanned(run, "--revisions", "step0,step4", "--json")
    assert all(point["llc"] is not None for point in ran.json["points"])
    assert "The tokenizer is that of org/tiny at main" in ran.err
    text = scanned(run, "--revisions", "step1", "--json", "--output-dir", "other").json["dataset"]
    assert text == ran.json["dataset"]


@pytest.mark.usefixtures("series")
def test_a_known_scan_needs_no_network(run: Run, hub: HubServer, monkeypatch: pytest.MonkeyPatch) -> None:
    options = ["--revisions", "step1,step2,main", "--json"]
    first = by_name(scanned(run, *options, code=1))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    asked = len(hub.log)
    assert by_name(scanned(run, *options, code=1)) == first
    assert len(hub.log) == asked


@pytest.mark.usefixtures("series")
def test_a_folder_of_other_settings_is_not_mixed_with(run: Run) -> None:
    scanned(run, "--revisions", "step1")
    before = files_of(Path("out"))
    refused(scanned(run, "--revisions", "step1", "--draws", "9", code=1), 1, r"other inputs \(sampler.draws")
    assert files_of(Path("out")) == before


@pytest.mark.parametrize("command", ["scan", "estimate", "calibrate"])
def test_a_launch_that_does_not_say_where_the_others_are_is_refused(
    run: Run, tiny: Path, text: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "0")
    result = r"WORLD_SIZE is 2, but LOCAL_RANK, MASTER_ADDR and MASTER_PORT are not set.*Start with --num-processes"
    refused(run(command, tiny, "--dataset", text), 1, result)


@pytest.mark.usefixtures("series")
def test_a_dry_run_lists_and_computes_nothing(run: Run) -> None:
    listed = run("revisions", "org/tiny", "--revisions", "..2")
    assert scanned(run, "--dry-run", "--revisions", "..2").out == listed.out
    assert not Path("out").exists()


def test_show_reads_an_estimate(run: Run, small: Run) -> None:
    result = small("--output-dir", "one", "--json").json
    assert [point["llc"] for point in run("show", "one", "--json").json["points"]] == [result["llc"]]
