"""What is published of a run: no folder of this machine, the headline that was asked for, the same bytes each time."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from hf_llc.errors import SettingsError, UnusableError
from hf_llc.report.card.files import headline_of, portable, write_files
from hf_llc.report.card.render import Content
from hf_llc.results.curve import Curve, Point
from hf_llc.results.estimate import Estimate
from tests.helpers.estimates import estimate


def local(step: int, root: Path) -> Estimate:
    """An estimate of a folder of somebody's."""
    dataset = replace(estimate().dataset, id=str(root / "texts" / "secret.jsonl"), revision="sha256:" + "d" * 64)
    return estimate(
        step,
        1.0 + step,
        model=str(root / "models" / f"step{step}"),
        revision=None,
        sha="sha256:" + "e" * 64,
        dataset=dataset,
        run_dir=str(root / "runs" / "points" / f"step{step}"),
    )


def local_curve(root: Path) -> Curve:
    points = [Point(revision=f"step{step}", step=step, estimate=local(step, root)) for step in (0, 8)]
    error = f"{root / 'models' / 'step9' / 'model.safetensors'} is\ndamaged ({Path.home()}/x, /mnt/a/b/c d, https://h.org/a/b)"
    points.append(Point(revision="step9", step=9, error=error))
    return Curve.of_points(str(root / "models"), points, run_dir=str(root / "runs"), versions={})


def test_nothing_of_this_machine_is_left(tmp_path: Path) -> None:
    result = portable(local_curve(tmp_path), tmp_path / "runs")
    text = json.dumps(result.to_dict())
    assert str(tmp_path) not in text
    assert str(Path.home()) + "/" not in text
    assert (result.model, result.run_dir) == ("models", ".")
    assert result.points[2].error == "models/step9/model.safetensors is damaged (x, c d, https://h.org/a/b)"
    first = result.points[0].estimate
    assert first is not None
    assert (first.model, first.dataset.id, result.dataset["id"]) == ("step0", "secret.jsonl", "secret.jsonl")


def test_numbers_stay_and_again_nothing_changes(tmp_path: Path) -> None:
    curve = local_curve(tmp_path)
    (tmp_path / "runs" / "points" / "step8").mkdir(parents=True)
    text = portable(curve, tmp_path / "runs")
    assert [point.llc for point in text.points] == [point.llc for point in curve.points]
    assert text.settings == curve.settings
    assert [point.estimate.run_dir for point in text.points if point.estimate] == ["points/step0", "points/step8"]
    result = replace(text, run_dir=str(tmp_path / "runs"))
    again = portable(replace(result, points=result.points[1:]), tmp_path / "runs")
    assert again.points == text.points[1:]


def test_hub_names_are_left_alone(tmp_path: Path) -> None:
    curve = Curve.of_estimate(estimate())
    text = portable(curve, tmp_path)
    assert (text.model, text.points[0].revision, text.dataset) == ("org/model", "step512", curve.dataset)


def test_an_estimate_of_a_folder_is_called_after_it(tmp_path: Path) -> None:
    text = portable(Curve.of_estimate(local(8, tmp_path)), tmp_path)
    assert text.points[0].revision == "step8"


def test_what_was_read_from_the_hub_is_published_as_it_was(tmp_path: Path) -> None:
    text = portable(local_curve(tmp_path), tmp_path / "runs")
    assert portable(replace(text, run_dir="hf://org/model"), tmp_path) == text


def test_a_run_without_a_number_is_refused(tmp_path: Path) -> None:
    points = [Point(revision="a", error="no weights"), Point(revision="b", estimate=estimate(8, None))]
    curve = Curve.of_points("org/model", points, run_dir="", versions={})
    with pytest.raises(UnusableError, match="no number to publish"):
        portable(curve, tmp_path)


def test_the_headline_is_the_last_number_and_what_was_named_in_order_of_training() -> None:
    steps = [estimate(step, 1.0 + step) for step in (0, 8, 64)]
    points = [Point(revision=f"step{each.step}", estimate=each) for each in steps]
    curve = Curve.of_points("m", [*points, Point(revision="main", error="no weights")], run_dir="", versions={})
    assert [point.revision for point in headline_of(curve, ())] == ["step64"]
    assert [point.revision for point in headline_of(curve, ["step8", "step0"])] == ["step0", "step8", "step64"]
    with pytest.raises(SettingsError, match="step9 is not in the run; did you mean step"):
        headline_of(curve, ["step9"])
    with pytest.raises(SettingsError, match="main has no number"):
        headline_of(curve, ["main"])


def test_the_same_run_gives_the_same_bytes(tmp_path: Path) -> None:
    curve = portable(local_curve(tmp_path), tmp_path)
    content = Content(curve=curve, name="m", headline=headline_of(curve, ()))
    first = write_files(tmp_path / "a", content)
    assert list(first) == ["llc/results.jsonl", "llc/settings.yaml", "llc/curve.png", "llc/curve.svg"]
    assert write_files(tmp_path / "b", content) == first
    assert {name: (tmp_path / "a" / name).read_bytes() for name in first} == first
