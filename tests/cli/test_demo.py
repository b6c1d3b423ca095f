"""`hf-llc demo`, much smaller: every form of its output, and what its exit code says."""

import json
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from importlib import import_module
from pathlib import Path

import pytest

from hf_llc.results.estimate import Estimate, Verdict
from hf_llc.scans import demo as demonstration
from tests.helpers.command_line import Ran, Run
from tests.scans.test_demo import SIZE

STEPS = (0, 1, 4)


@pytest.fixture
def demo(run: Run, monkeypatch: pytest.MonkeyPatch) -> Run:
    """`run("demo", …)` in one process."""
    small = replace(SIZE, checkpoints=STEPS)
    monkeypatch.setattr(demonstration, "demonstrate", partial(demonstration.demonstrate, size=small))
    return lambda *more: run("demo", "--num-processes", 1, *more)


@pytest.fixture
def without_number(monkeypatch: pytest.MonkeyPatch) -> None:
    """The second checkpoint's chains diverge."""
    estimate_series: Callable[..., list[Estimate]] = import_module("hf_llc.scans.shared_settings").estimate_series

    def failing(*args: object, **named: object) -> list[Estimate]:
        series = estimate_series(*args, **named)
        series[1] = replace(series[1], llc=None, stderr=None, verdict=Verdict.DIVERGED)
        return series

    monkeypatch.setattr(demonstration, "estimate_series", failing)


def table(ran: Ran) -> list[list[str]]:
    """The cells of the rows that begin with a step."""
    return [line.split() for line in ran.out.splitlines() if line.startswith("step")]


def test_every_form_says_the_same_numbers(demo: Run, run: Run) -> None:
    result = demo("--json").json
    points = result["points"]
    assert result.keys() == {"schema", "model", "points", "picture", "card", "run_dir"}
    assert [point["step"] for point in points] == list(STEPS)
    assert result["run_dir"] == str(Path("hf-llc-demo").resolve())

    quiet = demo("-q")
    assert [float(line) for line in quiet.out.split()] == [point["llc"] for point in points]
    assert quiet.err == ""

    pairs = dict(line.split("=", 1) for line in demo("--format", "agent").out.splitlines())
    assert [float(pairs[f"step{step}.llc"]) for step in STEPS] == [point["llc"] for point in points]
    assert pairs["picture"] == result["picture"]

    shown = run("show", "hf-llc-demo", "-q")
    assert [float(line) for line in shown.out.split()] == [point["llc"] for point in points]
    assert not json.loads(Path("hf-llc-demo/scan.json").read_text())["run_dir"].startswith("/")

    human = demo()
    assert human.code == 0
    for row, point in zip(table(human), points, strict=True):
        name, step, loss, value, _, error, r_hat, verdict = row
        assert (name, step, loss) == (f"step{point['step']}", str(point["step"]), f"{point['init_loss']:.4f}")
        assert point["llc"] == pytest.approx(float(value), abs=float(error) / 2)
        assert point["stderr"] == pytest.approx(float(error), rel=0.05)
        assert (r_hat, verdict) == (f"{point['diagnostics']['r_hat']:.3f}", point["verdict"])
    assert f"The picture is {result['picture']}, the model card {result['card']}" in human.err
    assert Path(result["picture"]).is_file()
    assert Path(result["card"]).is_file()


def test_rows_appear_on_stderr_where_stdout_holds_json(demo: Run) -> None:
    ran = demo("--json")
    rows = [line.split() for line in ran.err.splitlines() if line.startswith("step") and "±" in line]
    assert [row[0] for row in rows] == [f"step{step}" for step in STEPS]
    assert [row[-1] for row in rows] == [point["verdict"] for point in ran.json["points"]]


@pytest.mark.usefixtures("without_number")
def test_a_point_without_number_is_shown_and_ends_with_1(demo: Run) -> None:
    ran = demo("--output-dir", "elsewhere")
    assert ran.code == 1
    assert table(ran)[1][3:5] == ["no", "number"]
    assert table(ran)[1][-1] == "diverged"
    assert demo("--output-dir", "elsewhere", "-q").out.split("\n")[1] == ""
    assert (Path("elsewhere") / "llc" / "curve.png").is_file()


def test_a_folder_with_another_readme_is_refused_in_one_line(demo: Run) -> None:
    Path("mine").mkdir()
    Path("mine/README.md").write_text("mine")
    ran = demo("--output-dir", "mine")
    assert (ran.code, ran.out) == (1, "")
    assert ran.err.count("\n") == 1
    assert "README.md" in ran.err
    assert Path("mine/README.md").read_text() == "mine"
