"""Results as Python shows them: a line, a table for notebooks, ArviZ's type, pandas, figures."""

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from xarray import DataTree

from hf_llc import Curve, Estimate, compare, estimate
from hf_llc.errors import NotFoundError, ResourceError, SettingsError
from hf_llc.results.curve import Point
from hf_llc.results.views import with_error
from tests.helpers.estimates import estimate as made_up
from tests.helpers.tiny_model import make_model
from tests.hub_server.environment import use_hub
from tests.results.figures.test_calibration import calibration


def curve_of(*steps: int) -> Curve:
    points = [Point(revision=f"step{step}", step=step, estimate=made_up(step)) for step in steps]
    return Curve.of_points("org/model", points, run_dir="run", versions={})


@pytest.fixture
def result(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Estimate:
    """An estimate with its folder: four chains of six draws."""
    use_hub(monkeypatch, "http://127.0.0.1:9", tmp_path / "hf_home")
    monkeypatch.chdir(tmp_path)
    ids = torch.arange(320).reshape(20, 16) % 300
    return estimate(
        make_model(), ids, "sgld-lm", gamma=1000.0, lr=1e-4, draws=6, burn_in=2, checks=False, batch_size=4,
        gradient="minibatch", batches="independent",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("value", "error", "text"),
    [(22.913, 0.138, "22.91 ± 0.14"), (1234.6, 52.0, "1235 ± 52"), (1.5, 0.0, "1.5 ± 0"), (None, 0.1, "no number")],
)
def test_an_error_has_two_digits_and_its_value_as_many_places(value: float | None, error: float, text: str) -> None:
    assert with_error(value, error) == text


def test_an_estimate_prints_as_one_line_with_its_number_and_verdict() -> None:
    estimate = made_up(512)
    line = str(estimate)
    assert line.count("\n") == 0
    assert line.startswith(f"{estimate.model}@{estimate.revision}: λ̂ = {with_error(estimate.llc, estimate.stderr)} (")
    assert str(estimate.verdict) in line
    assert repr(estimate) == f"<Estimate {line}>"
    assert "no number" in str(replace(estimate, llc=None, stderr=None))


def test_a_notebook_shows_a_table_without_markup_of_others() -> None:
    shown = replace(made_up(512), model="<script>alert(1)</script>")._repr_html_()
    assert "<table>" in shown
    assert "<script>" not in shown
    assert "&lt;script&gt;" in shown
    assert "<img" not in shown  # its folder is not here


def test_a_notebook_shows_the_picture_of_a_run_that_is_here(result: Estimate) -> None:
    assert "<img alt='traces' src='data:image/png;base64," in result._repr_html_()
    assert len(result.plot().axes) == 2


def test_traces_are_the_draws_behind_the_number(result: Estimate) -> None:
    traces = result.traces()
    assert isinstance(traces, DataTree)
    posterior = traces["posterior"]
    assert dict(posterior.sizes) == {"chain": 4, "draw": 6}
    assert float(posterior["llc"].mean()) == pytest.approx(result.diagnostics.raw_llc)
    ratio = posterior["llc"] / posterior["delta_loss"]
    assert float(ratio.mean()) == pytest.approx(result.settings.n_beta)
    assert result.diagnostics.distance is not None
    assert math.sqrt(float((posterior["distance"] ** 2).mean())) == pytest.approx(result.diagnostics.distance)


def test_traces_that_are_not_here_or_damaged_are_named(result: Estimate, tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match=r"elsewhere/traces\.json"):
        replace(result, run_dir=str(tmp_path / "elsewhere")).traces()
    path = Path(result.run_dir) / "traces.json"
    stored = json.loads(path.read_bytes())
    stored["payload"]["traces"][0]["deltas"][3] += 1
    path.write_text(json.dumps(stored))
    with pytest.raises(ResourceError, match=r"traces\.json is damaged"):
        result.traces()


def test_a_curve_is_a_sequence_of_its_points_by_name() -> None:
    curve = curve_of(1, 8, 64)
    assert [point.step for point in curve] == [1, 8, 64]
    assert len(curve) == 3
    assert curve["step8"].step == 8
    with pytest.raises(NotFoundError, match="no step9; did you mean"):
        curve["step9"]
    assert str(curve).startswith("org/model: 3 checkpoints, λ̂ from ")
    assert curve._repr_html_().count("<tr>") == 4


def test_a_curve_as_a_frame_has_the_documented_columns() -> None:
    curve = curve_of(1, 8)
    frame = curve.to_pandas()
    assert list(frame.columns) == list(curve.points[0].to_row())
    assert frame["llc"].tolist() == [point.llc for point in curve]


def test_a_curve_is_drawn_over_its_steps_or_tokens() -> None:
    curve = curve_of(1, 8, 64)
    assert len(curve.plot().axes) == 2
    assert curve.plot(x="linear").axes[1].get_xscale() == "linear"


def test_a_calibration_is_a_line_a_table_and_a_picture() -> None:
    results = calibration(reasons={"gamma": "it is in the middle"}, model="org/<b>")
    assert str(results) == "org/<b>@step8: γ = 1000, ε = 0.0002, expected error 2 % of λ̂ (plateau: none)"
    assert repr(results) == f"<Calibration {results}>"
    assert "no error to expect" in str(calibration(expected_stderr=None))
    shown = results._repr_html_()
    assert "org/&lt;b&gt; @ step8" in shown
    assert "There is no plateau." in shown
    assert "<th style='text-align:left'>gamma</th>" in shown
    assert "<img alt='calibration' src='data:image/png;base64," in shown
    assert [axes.get_xscale() for axes in results.plot().axes] == ["log", "log"]


def test_a_comparison_is_a_line_a_table_and_a_picture() -> None:
    one, two = curve_of(1, 8), replace(curve_of(8, 64), model="org/<b>")
    both = compare(one, two)
    assert str(both) == "model, <b>: comparable"
    assert repr(both) == f"<Comparison {both}>"
    assert both.pictures == ()
    assert not Path("hf-llc-compare").exists()
    shown = both._repr_html_()
    assert "<th>step</th><th>model</th><th>&lt;b&gt;</th>" in shown
    assert shown.count("<tr>") == 4
    assert "<img alt='comparison'" in shown
    assert both.plot(x="linear").axes[1].get_xscale() == "linear"
    other = replace(made_up(8), settings=replace(made_up(8).settings, gamma=1.0))
    apart = compare(one, other)
    assert str(apart).endswith(": not comparable, 1 reason")
    assert "curvatures below it are not seen" in apart._repr_html_()


def test_runs_are_compared_one_by_one_or_as_a_list(tmp_path: Path) -> None:
    one, two = curve_of(1, 8), curve_of(8, 64)
    assert compare([one, two]).to_dict() == compare(one, two).to_dict()
    drawn = compare(one, two, folder=tmp_path / "pictures")
    assert [path.name for path in drawn.pictures] == ["compare.png", "compare.svg"]
    assert compare([one, two], tmp_path / "pictures").pictures == drawn.pictures
    with pytest.raises(SettingsError, match="needs two or more runs"):
        compare(one)
    with pytest.raises(SettingsError, match=r"runs\[1\] must be a Curve, an Estimate, a folder or hf://…, got 3"):
        compare(one, 3)
    with pytest.raises(SettingsError, match="compare has no argument fodler; did you mean folder"):
        compare(one, two, fodler=tmp_path)  # type: ignore[call-arg]
    with pytest.raises(NotFoundError, match="holds no finished run"):
        compare(one, tmp_path)
