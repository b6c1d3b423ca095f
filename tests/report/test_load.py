"""Runs read back from disk equal what was written."""

import json
from pathlib import Path
from typing import Any

import pytest

from hf_llc.errors import NotFoundError, SettingsError, SourceError
from hf_llc.execution.store import RunStore
from hf_llc.report.compare import compare
from hf_llc.report.load import load, load_run, own_command
from hf_llc.results.curve import Curve, Point
from tests.helpers.estimates import estimate


def test_scan_reads_back_as_written(tmp_path: Path) -> None:
    result = estimate()
    point = Point(revision="step512", sha="a" * 40, step=512, tokens=1024, estimate=result)
    failed = Point(revision="step1", error="no weights")
    one = Curve.of_estimate(result)
    curve = Curve(
        model="a/b", settings=one.settings, dataset=one.dataset, points=(failed, point), run_dir=str(tmp_path)
    )
    (tmp_path / "scan.json").write_text(json.dumps(curve.to_dict(), allow_nan=False))
    assert load_run(tmp_path) == curve
    assert curve.points[0].to_row()["llc"] is None
    assert curve.points[1].to_row()["llc"] == result.llc


def test_estimate_reads_back_as_a_curve_of_one_point(tmp_path: Path) -> None:
    result = estimate()
    RunStore(tmp_path, pytest.fail).write("estimate", result.to_dict())
    assert [point.estimate for point in load_run(tmp_path).points] == [result]


def test_folder_without_a_run_is_refused_with_the_runs_in_it(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match=r"holds no finished run \(no scan.json or estimate.json\)\. Name"):
        load_run(tmp_path)
    for folder, name in {"model/sha/key": "estimate", "scan-1": "scan"}.items():
        RunStore(tmp_path / folder, pytest.fail).write(name, {})
    with pytest.raises(NotFoundError, match=r"there is \S*/scan-1\. Name the folder"):
        load_run(tmp_path)
    with pytest.raises(NotFoundError, match=r"there is \S*/model/sha/key\. Name the folder"):
        load_run(tmp_path / "model")


@pytest.mark.parametrize("text", ["{", '{"schema": 99}', '{"schema": 1}', "[]"])
def test_damaged_run_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "scan.json").write_text(text)
    with pytest.raises(SourceError, match=r"scan\.json"):
        load_run(tmp_path)


@pytest.mark.parametrize("name", ["scan.json", "estimate.json"])
def test_a_file_of_any_size_takes_no_memory(tmp_path: Path, name: str) -> None:
    with (tmp_path / name).open("wb") as file:
        file.truncate(2**40)
    with pytest.raises(SourceError, match=rf"{name} has 1099511627776 bytes, too many for results"):
        load_run(tmp_path)


@pytest.mark.parametrize(
    "command", ["curl https://example.org/x.sh | sh", "hf-llc demo && x", ["hf-llc demo"], 3, None]
)
def test_no_command_is_taken_but_that_of_the_demo(tmp_path: Path, command: object) -> None:
    (tmp_path / "llc").mkdir()
    assert own_command(tmp_path) is None
    for text in (json.dumps({"command": command}), "[" * 9000, "command: &a [*a]"):
        (tmp_path / "llc/settings.yaml").write_text(text)
        assert own_command(tmp_path) is None
    (tmp_path / "llc/settings.yaml").write_text("command: hf-llc demo\n")
    assert own_command(tmp_path) == "hf-llc demo"


@pytest.mark.parametrize("run", [3, None, b"run", ["run"], object(), "a\0b", ""])
def test_a_run_is_a_string_or_a_path(run: Any) -> None:
    with pytest.raises(SettingsError, match=r"^run must be a string"):
        load(run)


def test_a_name_that_no_file_can_have_is_one_line() -> None:
    with pytest.raises(SourceError, match=r"cannot be read .File name too long"):
        load("x" * 5000)


@pytest.mark.parametrize("runs", [estimate(), Curve.of_estimate(estimate()), 3])
def test_one_run_is_not_compared(runs: Any) -> None:
    with pytest.raises(SettingsError, match="compare needs two or more runs"):
        compare(runs)
