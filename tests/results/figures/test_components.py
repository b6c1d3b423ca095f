"""The picture of components: a heat map whose cells are the numbers, or points with error bars at one checkpoint."""

from dataclasses import replace
from typing import Any

import numpy
import pytest
from matplotlib.collections import PathCollection

from hf_llc.results.component_curves import ComponentCurves
from hf_llc.results.curve import Curve, Point
from hf_llc.results.estimate import Verdict
from hf_llc.results.figures.components import figure_of
from tests.helpers.estimates import estimate


def curves(steps: tuple[int, ...], names: tuple[str, ...] = ("l0h0", "l0h1", "l0.mlp")) -> ComponentCurves:
    """λ̂ = place of the component + step / 100; the second component is missing at the last step, and not converged at
    the first one."""
    by_name: dict[str, Curve] = {}
    for place, name in enumerate(names):
        points = []
        for step in steps:
            verdict = Verdict.NOT_A_MINIMUM if (place, step) == (1, steps[0]) else Verdict.CONVERGED
            record = replace(estimate(step, place + step / 100), verdict=verdict)
            failed = place == 1 and step == steps[-1] and len(steps) > 1
            points.append(Point(revision=f"step{step}", step=step, estimate=None if failed else record,
                                error="damaged" if failed else None))  # fmt: skip
        by_name[name] = Curve.of_points("org/model", points, run_dir=".", versions={})
    return ComponentCurves(model="org/model", curves=by_name, run_dir=".")


def test_cells_are_the_numbers_and_dots_those_that_did_not_converge() -> None:
    axes = figure_of(curves((1, 2, 4))).axes[0]
    values: Any = numpy.ma.filled(numpy.ma.asarray(axes.images[0].get_array()), numpy.nan)
    assert values[[0, 2]].tolist() == pytest.approx(numpy.array([[0.01, 0.02, 0.04], [2.01, 2.02, 2.04]]))
    assert values[1, :2].tolist() == pytest.approx([1.01, 1.02])
    assert numpy.isnan(values[1, 2])
    assert [label.get_text() for label in axes.get_yticklabels()] == ["l0h0", "l0h1", "l0.mlp"]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["step1", "step2", "step4"]
    (dots,) = [each for each in axes.collections if isinstance(each, PathCollection)]
    assert dots.get_offsets().tolist() == [[0.0, 1.0]]  # type: ignore[union-attr]
    low, high = axes.get_ylim()
    assert low > high, "the first component is at the top"


def test_at_one_checkpoint_there_are_error_bars_and_hollow_points() -> None:
    axes = figure_of(curves((4,))).axes[0]
    assert not axes.images
    bars = [(bar.lines[0].get_xdata()[0], bar.lines[0].get_markerfacecolor()) for bar in axes.containers]  # type: ignore
    assert [round(x, 6) for x, _ in bars] == [0.04, 1.04, 2.04]
    assert [colour == "white" for _, colour in bars] == [False, True, False]


def test_of_many_components_some_are_named() -> None:
    axes = figure_of(curves((1, 2), tuple(f"l{layer}h0" for layer in range(150)))).axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == [f"l{layer}h0" for layer in range(0, 150, 3)]
