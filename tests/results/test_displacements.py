"""Distances of a scan from sketches: what they are, and that none is given before all checkpoints are measured."""

import math
from collections.abc import Sequence
from typing import Any

import pytest
import torch

from hf_llc.measures.distances import SIZE, sketch
from hf_llc.results.columns import Column
from hf_llc.results.curve import Point
from hf_llc.results.displacements import COSINE, FROM_FIRST, FROM_LAST, SHAPES, SKETCH, distance, with_distances
from hf_llc.results.measured import MeasureRecord

COLUMNS = tuple(
    Column(name, "numbers" if name == SKETCH else "number", "weight", "a distance")
    for name in (FROM_FIRST, FROM_LAST, COSINE, SKETCH)
)


def point(step: int, sketch_of_it: Sequence[float] | None, **changes: Any) -> Point:
    record = MeasureRecord(columns=COLUMNS, values={SKETCH: sketch_of_it, SHAPES: changes.pop("shapes", "a")})
    return Point(revision=f"step{step}", step=step, measures={"distances": record}, **changes)


def column(points: Sequence[Point], name: str) -> list[float | None]:
    return [each.to_row()[name] for each in points]


def test_distances_and_cosines_are_those_of_the_points() -> None:
    copy = point(2, [3.0, 4.0], duplicate_of="step1")
    path = [point(0, [0.0, 0.0]), point(1, [3.0, 4.0]), copy, point(4, [7.0, 1.0])]
    whole = with_distances(path, is_whole=True)
    assert column(whole, FROM_FIRST) == [0, 5, 5, pytest.approx(math.sqrt(50))]
    assert column(whole, FROM_LAST) == [pytest.approx(math.sqrt(50)), 5, 5, 0]
    # (3, 4) and (4, −3) stand at right angles.
    assert column(whole, COSINE) == [None, None, None, pytest.approx(0, abs=1e-12)]
    assert with_distances(whole, is_whole=True) == whole
    assert distance(path[0], path[1]) == 5


def test_weights_of_other_shapes_have_no_distance() -> None:
    path = [point(0, [0.0, 0.0]), point(1, [3.0, 4.0], shapes="b"), point(2, [7.0, 1.0]), point(3, [8.0, 1.0])]
    whole = with_distances(path, is_whole=True)
    assert column(whole, FROM_FIRST) == [0, None, pytest.approx(math.sqrt(50)), pytest.approx(math.sqrt(65))]
    assert column(whole, FROM_LAST) == [pytest.approx(math.sqrt(65)), None, 1, 0]
    assert column(whole, COSINE) == [None] * 4


def test_a_copy_of_an_earlier_checkpoint_is_where_that_one_is() -> None:
    path = [point(0, [0.0, 0.0]), point(1, [3.0, 4.0]), point(2, [0.0, 0.0], duplicate_of="step0")]
    whole = with_distances(path, is_whole=True)
    assert column(whole, FROM_FIRST) == [0, 5, 0]
    assert column(whole, FROM_LAST) == [0, 5, 0]
    assert column(whole, COSINE) == [None, None, pytest.approx(-1)]


def test_there_is_no_distance_while_a_checkpoint_is_missing() -> None:
    path = with_distances([point(0, [0.0]), point(1, [3.0])], is_whole=True)
    unmeasured = Point(revision="step2", step=2)
    failed = Point(revision="step2", step=2, error="no weights")
    assert column(path, FROM_LAST) == [3, 0]
    assert column(with_distances(path, is_whole=False), FROM_LAST) == [None, None]
    assert column(with_distances([*path, unmeasured], is_whole=True)[:2], FROM_LAST) == [None, None]
    assert column(with_distances([*path, failed], is_whole=True)[:2], FROM_LAST) == [3, 0]
    assert distance(path[0], failed) is None


def test_the_error_of_a_sketch_is_that_which_is_stated() -> None:
    stream = torch.Generator().manual_seed(0)
    ratios = []
    for trial in range(200):
        # All in one direction, so that without random signs they would add up.
        moved = torch.rand(3000, generator=stream, dtype=torch.float64)
        ratios.append(float(sketch([(f"weight {trial}", moved)]).norm() / moved.norm()))
    spread = torch.tensor(ratios, dtype=torch.float64)
    error = 1 / math.sqrt(2 * SIZE)
    assert float(spread.std()) == pytest.approx(error, rel=4 / math.sqrt(2 * 200))
    assert float(spread.mean()) == pytest.approx(1, abs=4 * error / math.sqrt(200))


def test_a_sketch_is_linear_and_does_not_depend_on_the_order_or_type_of_parameters() -> None:
    first, second = torch.randn(50, 3), torch.randn(7)
    both = sketch([("a", first), ("b", second)])
    assert torch.allclose(both, sketch([("b", second), ("a", first)]), atol=1e-12)
    assert torch.allclose(sketch([("a", 2 * first), ("b", 2 * second)]), 2 * both, atol=1e-12)
    assert not torch.allclose(both, sketch([("a", first), ("c", second)]))
