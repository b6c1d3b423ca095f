"""The picture of a calibration: what is drawn where, and the same bytes each time."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from hf_llc.results.calibration import Calibration, Finding, Flat, Pilot, StepPoint
from hf_llc.results.estimate import DatasetRecord
from hf_llc.results.figures import calibration as plots_sweep
from tests.helpers.sweep_points import point
from tests.results.figures.test_plots import data, drawn, svg_text

__all__ = ["drawn"]


def step(lr: float, llc: float | None, *, agrees: bool = True) -> StepPoint:
    return StepPoint(
        lr=lr, stability=1000 * lr, llc=llc, stderr=0.5, excluded=None if llc else "no number", agrees=agrees
    )


def calibration(**changes: Any) -> Calibration:
    """Points at γ/nβ = 0.1 (not counted), 1, 10 and 100, without a plateau."""
    result = Calibration(
        model="org/model",
        revision="step8",
        sha="a" * 40,
        step=8,
        dataset=DatasetRecord(id="t", revision="b", config=None, split="s", text_column="x", fingerprint="f"),
        dimension=1000,
        curvature=3.0,
        trace_hessian=500.0,
        sweep=(
            point(0.1, 60.0, excluded="not local", quadratic=50.0, quadratic_stderr=5.0),
            point(1.0, 40.0, quadratic=39.0, quadratic_stderr=4.0),
            point(10.0, 10.0, quadratic=9.0, quadratic_stderr=1.0),
            point(100.0, 1.0),
        ),
        plateau=Finding.NONE,
        plateau_reason="There is no plateau.",
        flat=None,
        steps=(step(1e-4, 10.0), step(2e-4, 10.1), step(4e-4, 12.0, agrees=False)),
        steps_reason="",
        pilot=Pilot(
            llc=10.0, stderr=0.1, verdict="converged", verdict_reason="", autocorrelation=2.0, burn_in_error=0.0
        ),
        target_stderr=0.02,
        expected_stderr=0.02,
        met=True,
        precision="",
        budget=1000,
        gradients=500,
        pilot_gradients=2000,
        settings={"gamma": 1000.0, "n_beta": 100.0, "lr": 2e-4},
        reasons={},
        settings_file="/home/someone/settings.yaml",
        run_dir="/home/someone",
        versions={},
        seconds=1.0,
    )
    return replace(result, **changes)


def bars(axes: Axes, label: str) -> tuple[list[float], list[float], Any]:
    """Places, values and fill of the points that the legend calls `label`."""
    (results,) = (container for container in axes.containers if container.get_label() == label)
    return *data(results[0]), results[0].get_markerfacecolor()


def line(axes: Axes, label: str) -> tuple[list[float], list[float]]:
    (results,) = (each for each in axes.lines if each.get_label() == label)
    return data(results)


def test_each_number_is_drawn_at_its_resolution(drawn: list[Figure], tmp_path: Path) -> None:
    plots_sweep.sweep(tmp_path / "s.png", calibration())
    upper = drawn[0].axes[0]
    assert (upper.get_xscale(), upper.get_yscale()) == ("log", "log")
    assert bars(upper, plots_sweep.COUNTED)[:2] == ([1.0, 10.0, 100.0], [40.0, 10.0, 1.0])
    assert bars(upper, plots_sweep.NOT_COUNTED) == ([0.1], [60.0], "white")
    assert line(upper, plots_sweep.QUADRATIC) == ([0.1, 1.0, 10.0], [50.0, 39.0, 9.0])
    assert line(upper, plots_sweep.CHOSEN)[0] == [10.0, 10.0]


def test_each_step_size_is_drawn_with_the_limit_and_the_one_chosen(drawn: list[Figure], tmp_path: Path) -> None:
    plots_sweep.sweep(tmp_path / "s.png", calibration())
    lower = drawn[0].axes[1]
    assert bars(lower, "agrees with smaller steps")[:2] == ([1e-4, 2e-4], [10.0, 10.1])
    assert bars(lower, "does not") == ([4e-4], [12.0], "white")
    assert line(lower, plots_sweep.CHOSEN)[0] == [2e-4, 2e-4]
    assert line(lower, plots_sweep.LIMIT)[0] == pytest.approx([4e-3, 4e-3])
    low, high = lower.get_ylim()
    assert low <= 7.5
    assert high >= 12.5


def test_a_plateau_is_shaded_and_none_is_not(drawn: list[Figure], tmp_path: Path) -> None:
    flat = Flat(low=1.0, high=10.0, slope=0.0, slope_stderr=0.01, llc_low=40.0, llc_high=40.0)
    for each in (calibration(), calibration(plateau=Finding.FOUND, flat=flat)):
        plots_sweep.sweep(tmp_path / "s.png", each)
    without, with_one = (figure.axes[0] for figure in drawn)
    assert not without.patches
    assert with_one.patches[0].get_bbox().intervalx == pytest.approx((1.0, 10.0))  # type: ignore[attr-defined]


def test_what_has_no_positive_number_is_a_cross_on_the_axis(drawn: list[Figure], tmp_path: Path) -> None:
    sweep = (point(1.0, None, excluded="dead"), point(10.0, -3.0, excluded="below 0"), point(100.0, 1.0))
    plots_sweep.sweep(tmp_path / "s.png", calibration(sweep=sweep, steps=(step(1e-4, 10.0), step(2e-4, None))))
    upper, lower = drawn[0].axes
    assert line(upper, plots_sweep.NO_NUMBER)[0] == [1.0, 10.0]
    assert line(lower, plots_sweep.NO_NUMBER)[0] == [2e-4]


def test_a_sweep_without_any_number_is_a_picture(tmp_path: Path) -> None:
    nothing = calibration(sweep=(point(1.0, None, excluded="dead"),), steps=(step(1e-4, None),))
    plots_sweep.sweep(tmp_path / "s.png", nothing)
    assert (tmp_path / "s.png").is_file()


@pytest.mark.parametrize("finding", list(Finding))
def test_the_title_names_the_model_and_the_finding(finding: Finding, tmp_path: Path) -> None:
    plots_sweep.sweep(tmp_path / "s.svg", calibration(plateau=finding, model="/home/someone/a $x^{ 名"))
    text = svg_text(tmp_path / "s.svg")
    assert f"Calibration at a $x^{{ ?@step8: {plots_sweep.TITLES[finding]}" in text
    assert "someone" not in (tmp_path / "s.svg").read_text()


@pytest.mark.parametrize("name", ["s.png", "s.svg"])
def test_the_same_numbers_give_the_same_bytes(name: str, tmp_path: Path) -> None:
    for folder in ("one", "two"):
        plots_sweep.sweep(tmp_path / folder / name, calibration())
    assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()
