"""Points reported to TensorBoard and Trackio: what is reported, once, and what is said where the package is missing."""

import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from hf_llc.errors import SettingsError
from hf_llc.integrations.tracking import Tracking, values_of
from hf_llc.results.curve import Point
from tests.helpers.command_line import SMALL
from tests.helpers.estimates import estimate
from tests.helpers.processes import Starter
from tests.helpers.tiny_model import jsonl, save_tiny_model

CONFIG = {"model": "org/model", "gamma": 7800.0}
NUMBERS = {"llc", "stderr", "loss", "converged"}


def point(step: int | None, llc: float | None = 10.0) -> Point:
    return Point(revision=f"step{step}", step=step, estimate=estimate(step, llc))


def events(folder: Path) -> EventAccumulator:
    result = EventAccumulator(str(folder))
    result.Reload()
    return result


def scalars(folder: Path, name: str) -> list[tuple[int, float]]:
    return [(event.step, event.value) for event in events(folder).Scalars(name)]


def texts(folder: Path, name: str) -> list[tuple[int, str]]:
    summaries = events(folder).Tensors(f"{name}/text_summary")
    return [(event.step, event.tensor_proto.string_val[0].decode()) for event in summaries]


def test_a_point_is_reported_when_it_is_there(tmp_path: Path) -> None:
    with Tracking(["tensorboard"]) as tracking:
        tracking.begin(tmp_path, CONFIG)
        tracking.log(point(512, 13.5))
        assert scalars(tmp_path / "tensorboard", "llc") == [(512, 13.5)]
        tracking.log(point(8, 2.5))
    folder = tmp_path / "tensorboard"
    assert scalars(folder, "llc") == [(512, 13.5), (8, 2.5)]
    assert dict(scalars(folder, "stderr")) == pytest.approx({512: 0.42, 8: 0.42})
    assert dict(scalars(folder, "loss")) == pytest.approx({512: 2.8594, 8: 2.8594})
    assert texts(folder, "verdict") == [(512, "converged"), (8, "converged")]
    assert json.loads(texts(folder, "settings")[0][1].strip("`\n")) == CONFIG


def test_a_point_is_reported_once_unless_it_changes(tmp_path: Path) -> None:
    failed = Point(revision="step8", step=8, error="no weights")
    for points in ([point(4), failed], [point(4), failed], [point(4), point(8, 2.5)]):
        with Tracking(["tensorboard"]) as tracking:
            tracking.begin(tmp_path, CONFIG)
            for each in points:
                tracking.log(each)
    assert scalars(tmp_path / "tensorboard", "llc") == [(4, 10.0), (8, 2.5)]
    assert texts(tmp_path / "tensorboard", "error") == [(8, "no weights")]


def test_a_run_that_is_killed_reports_none_of_its_points_again(tmp_path: Path) -> None:
    for points in ([point(4)], [point(4), point(8, 2.5)]):
        killed = Tracking(["tensorboard"])
        killed.begin(tmp_path, CONFIG)
        for each in points:
            killed.log(each)
        assert scalars(tmp_path / "tensorboard", "llc")[-1][0] == points[-1].step
    assert scalars(tmp_path / "tensorboard", "llc") == [(4, 10.0), (8, 2.5)]


def test_two_scans_of_one_folder_report_a_point_once(tmp_path: Path) -> None:
    with Tracking(["tensorboard"]) as one, Tracking(["tensorboard"]) as other:
        for tracking in (one, other):
            tracking.begin(tmp_path, CONFIG)
        for tracking in (one, other):
            tracking.log(point(4))
    assert scalars(tmp_path / "tensorboard", "llc") == [(4, 10.0)]


BOARD = """
import os, signal, threading
from pathlib import Path
from hf_llc.integrations.tracking import Tracking
from tests.integrations.test_tracking import CONFIG, point
for step in (4, 8):
    tracking = Tracking(["trackio"])
    tracking.begin(Path("run"), CONFIG)
    for each in (4, step):
        reporting = threading.Thread(target=tracking.log, args=(point(each),))
        reporting.start()
        reporting.join()
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.processes
def test_a_board_has_what_a_killed_run_reported_and_has_it_once(tmp_path: Path) -> None:
    environment = {**os.environ, "TRACKIO_DIR": str(tmp_path / "board"), "PYTHONPATH": str(Path.cwd())}
    ran = subprocess.run([sys.executable, "-c", BOARD], cwd=tmp_path, env=environment, check=False)
    assert ran.returncode == -signal.SIGKILL
    command = [str(Path(sys.executable).parent / "trackio"), "list", "runs", "--project", "hf-llc", "--json"]
    shown = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    (name,) = json.loads(shown.stdout)["runs"]
    command = [command[0], "get", "metric", *command[3:], "--run", name, "--metric", "llc"]
    shown = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert [value["step"] for value in json.loads(shown.stdout)["values"]] == [4, 8]


def test_parts_of_one_scan_have_folders_of_their_own(tmp_path: Path) -> None:
    with Tracking(["tensorboard"]) as one, Tracking(["tensorboard"]) as two:
        for part, tracking in (("shard-1-of-2", one), ("shard-2-of-2", two)):
            tracking.begin(tmp_path, CONFIG, part)
        one.log(point(1))
        two.log(point(2))
    assert scalars(tmp_path / "tensorboard/shard-1-of-2", "llc") == [(1, 10.0)]
    assert scalars(tmp_path / "tensorboard/shard-2-of-2", "llc") == [(2, 10.0)]


def test_copies_and_failures_have_words_only() -> None:
    whole = values_of(point(8))
    assert {name for name, value in whole.items() if not isinstance(value, str)} == NUMBERS
    copy = replace(point(16), duplicate_of="step8")
    assert values_of(copy) == {"revision": "step16", "duplicate_of": "step8"}
    diverged = values_of(point(4, None))
    assert set(diverged) == {"revision", "error"}
    assert str(diverged["error"]).startswith("diverged: ")


def test_what_has_no_step_stands_where_it_came(tmp_path: Path) -> None:
    with Tracking(["tensorboard"]) as tracking:
        tracking.begin(tmp_path, CONFIG)
        for name in ("main", "other"):
            tracking.log(replace(point(None), revision=name))
    assert [step for step, _ in scalars(tmp_path / "tensorboard", "llc")] == [0, 1]


@pytest.mark.parametrize(
    ("name", "module", "extra"),
    [("trackio", "trackio", "trackio"), ("tensorboard", "torch.utils.tensorboard", "tensorboard")],
)
def test_a_missing_package_is_named_with_the_command_that_installs_it(
    monkeypatch: pytest.MonkeyPatch, name: str, module: str, extra: str
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(SettingsError, match=rf"pip install 'hf-llc\[{extra}\]'"):
        Tracking([name])


def test_there_are_two_trackers() -> None:
    with pytest.raises(SettingsError, match="report_to must be one of tensorboard, trackio, got 'wandb'"):
        Tracking(["wandb"])


@pytest.mark.processes
def test_a_scan_reports_to_a_real_board_and_keeps_stdout_for_data(tmp_path: Path) -> None:
    for seed, step in ((0, 1), (1, 4)):
        save_tiny_model(tmp_path / f"series/step{step}", seed)
    (tmp_path / "text.jsonl").write_text(jsonl(200))
    options = [*SMALL, "--gamma", "1000", "--num-processes", "1", "--output-dir", "out", "--json"]
    start = Starter(tmp_path, ["scan", "series", "--dataset", "text.jsonl", *options])
    start.environment["TRACKIO_DIR"] = str(tmp_path / "board")
    ran = start("--trackio", "my project", "--report-to", "tensorboard").finish()
    assert ran.code == 0, ran.err
    expected = {each["step"]: each["llc"] for each in ran.json["points"]}
    assert reported(start, "llc") == expected
    assert reported(start, "verdict").keys() == expected.keys()
    assert dict(scalars(tmp_path / "out/tensorboard", "llc")) == pytest.approx(expected)
    assert 'trackio show --project "my project"' in ran.err
    again = start("--trackio", "my project").finish()
    assert again.json["points"] == ran.json["points"]
    assert reported(start, "llc") == expected


def test_several_components_report_to_runs_of_their_own_at_once(tmp_path: Path) -> None:
    for seed, step in ((0, 1), (1, 4)):
        save_tiny_model(tmp_path / f"series/step{step}", seed)
    (tmp_path / "text.jsonl").write_text(jsonl(200))
    options = [*SMALL, "--sampler", "importance", "--gamma", "1000", "--num-processes", "1", "--json"]
    start = Starter(tmp_path, ["scan", "series", "--dataset", "text.jsonl", *options, "--output-dir", "out"])
    start.environment["TRACKIO_DIR"] = str(tmp_path / "board")
    ran = start("--trackio", "my project", "--component", "heads").finish()
    assert ran.code == 0, ran.err
    for name, curve in ran.json["components"].items():
        assert reported(start, "llc", f"-{name}-") == {each["step"]: each["llc"] for each in curve["points"]}


def reported(start: Starter, metric: str, part: str = "") -> dict[int, Any]:
    """What the board itself says of the one run in it whose name has this part, by step."""

    def asked(*message: str) -> Any:
        command = [str(Path(sys.executable).parent / "trackio"), *message, "--project", "my project", "--json"]
        shown = subprocess.run(command, env=start.environment, capture_output=True, text=True, check=True)
        return json.loads(shown.stdout)

    (run,) = [name for name in asked("list", "runs")["runs"] if part in name]
    values = asked("get", "metric", "--run", run, "--metric", metric)["values"]
    assert len({value["step"] for value in values}) == len(values)
    return {value["step"]: value["value"] for value in values}
