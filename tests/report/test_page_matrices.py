"""Influence and susceptibilities in the page: what is noise is not drawn, what is large is thinned, and words are
text."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy
import pytest

import hf_llc
from hf_llc import DataSettings, SamplerSettings
from hf_llc.errors import ResourceError
from hf_llc.report.page.render import page_of
from hf_llc.results.influence import Influence
from hf_llc.results.matrix import MatrixQuality, MatrixVerdict
from hf_llc.results.progress import Observer
from hf_llc.results.susceptibility import MATRICES, ControlQuality, ControlVerdict, Susceptibility
from tests.helpers.estimates import SETTINGS
from tests.helpers.learned_model import BY_DRAWS, save_learned_model
from tests.report.test_page import HOSTILE, Elements, kept_run

RESOLVED, PARTLY, NOISE = MatrixVerdict


def quality_of(verdict: MatrixVerdict) -> MatrixQuality:
    return MatrixQuality(verdict=verdict, reason="because", entries=3, effective=99.0, signal=0.5, agreement=0.5,
                         significant=0.5, pareto_k=None)  # fmt: skip


def influence_of(
    count: int = 3, verdict: MatrixVerdict = RESOLVED, kernel: MatrixVerdict = RESOLVED, name: str = "item"
) -> Influence:
    """Items whose influence on each other is the sum of their numbers, a tenth of it the error."""
    numbers = numpy.add.outer(numpy.arange(count), numpy.arange(count)).astype(float)
    return Influence(
        names=tuple(f"{name}{number}" for number in range(count)),
        influence=-numbers,
        influence_stderr=numbers / 10 + 1e-9,
        kernel=numbers / numbers.max(),
        kernel_stderr=numbers * 0 + 0.25,
        quality=quality_of(verdict),
        kernel_quality=quality_of(kernel),
        n_beta=30.0,
        gamma=100.0,
        n=count,
        draws=400,
    )


def susceptibility_of(
    verdict: MatrixVerdict, verdicts: tuple[MatrixVerdict, ...], items: int = 4, name: str = "item"
) -> Susceptibility:
    shape = (len(verdicts), items)
    values = numpy.arange(numpy.prod(shape), dtype=float).reshape(shape) - 1
    matrices: dict[str, Any] = {
        each: values * 0 + 0.5 if each.endswith("_stderr") else values for each in MATRICES
    }  # fmt: skip
    return Susceptibility(
        components=tuple(f"l0h{head}" for head in range(len(verdicts))),
        items=tuple(f"{name}{number}" for number in range(items)),
        **matrices,
        control=None,
        control_stderr=None,
        ratios=(None,) * len(verdicts),
        quality=quality_of(verdict),
        qualities=tuple(map(quality_of, verdicts)),
        total_quality=quality_of(RESOLVED),
        n_beta=30.0,
        gamma=100.0,
        n=items,
        draws=400,
    )


def recorded_run(folder: Path, **changes: Any) -> Path:
    """A run whose last checkpoint but the failed one has a recording."""
    run = kept_run(folder, **changes)
    (run / "points/step512/recorded/losses").mkdir(parents=True, exist_ok=True)
    (run / "points/step512/recorded/losses/anchors.json").write_text("{}")
    return run


@pytest.fixture
def page(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., tuple[str, list[dict[str, Any]]]]:
    """Gives the text and the matrices of the page of a run with this influence."""

    def make(result: Influence) -> tuple[str, list[dict[str, Any]]]:
        monkeypatch.setattr(hf_llc, "influence", lambda folder: result, raising=False)
        path = hf_llc.write_report(recorded_run(tmp_path / "run"), path=tmp_path / "page.html")
        text = path.read_text(encoding="utf-8")
        matrices: list[dict[str, Any]] = json.loads(Elements(text).data)["matrices"]
        return text, matrices

    return make


def test_a_resolved_influence_is_drawn_with_its_errors_and_largest_pairs(page: Any) -> None:
    text, ((matrix),) = page(influence_of())
    influence, kernel = matrix["maps"]
    assert (influence["name"], kernel["name"]) == ("influence", "correlation")
    values = [[None if each is None else each * influence["scale"] for each in row] for row in influence["values"]]
    assert values[1] == [pytest.approx(-1.0, rel=1e-3), None]
    assert values[2] == [pytest.approx(-2.0, rel=1e-3), pytest.approx(-3.0, rel=1e-3), None]
    assert influence["errors"][2][1] * influence["scale"] == pytest.approx(0.3, rel=1e-3)
    assert influence["rows"] == ["0 item0", "1 item1", "2 item2"]
    assert "<td>1 item1</td><td>2 item2</td><td>-3.00 ± 0.30</td><td>0.75 ± 0.25</td>" in text
    assert "influences more than 3 standard errors from 0, of 3 pairs; about 0 would lie so far by chance" in text
    assert "<strong>influence</strong>: resolved: because" in text


def test_what_is_noise_is_not_drawn(page: Any) -> None:
    _, (matrix,) = page(influence_of(verdict=NOISE))
    assert [each["name"] for each in matrix["maps"]] == ["correlation"]
    text, (matrix,) = page(influence_of(verdict=NOISE, kernel=NOISE))
    assert matrix["maps"] == []
    assert "<strong>influence</strong>: noise: because" in text
    assert "It is not drawn: its entries are noise." in text


def test_many_items_are_thinned_to_those_of_the_largest_pairs_and_others(page: Any) -> None:
    text, (matrix,) = page(influence_of(300))
    influence = matrix["maps"][0]
    assert len(influence["rows"]) == 100
    assert {*range(295, 300)} <= set(influence["numbers"])
    assert influence["numbers"] == sorted(set(influence["numbers"]))
    assert min(influence["numbers"]) == 0
    assert influence["rows"][0] == "0 item0"
    assert influence["note"] == "100 of 300 items are drawn: those of the pairs below, and others evenly."
    assert len(text.encode()) < 700_000


def test_names_of_items_are_text(page: Any) -> None:
    text, (matrix,) = page(influence_of(name=HOSTILE))
    elements = Elements(text).elements
    assert not [tag for tag, _ in elements if tag in {"img", "iframe", "object", "embed"}]
    assert len([tag for tag, attributes in elements if tag == "script"]) == 8
    assert matrix["maps"][0]["rows"][0] == f"0 {HOSTILE}0"
    assert "&lt;/script&gt;&lt;script&gt;alert(1)" in text


def test_a_matrix_that_cannot_be_computed_is_left_out_and_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def fail(folder: Path) -> Influence:
        raise ResourceError("parts are damaged")

    told: list[str] = []

    class Listener(Observer):
        def tell(self, message: str) -> None:
            told.append(message)

    monkeypatch.setattr(hf_llc, "influence", fail, raising=False)
    path = hf_llc.write_report(recorded_run(tmp_path / "run"), path=tmp_path / "page.html", observer=Listener())
    assert json.loads(Elements(path.read_text(encoding="utf-8")).data)["matrices"] == []
    assert told == ["The page has no influence: parts are damaged"]


def test_the_page_of_a_space_has_no_texts_of_the_data(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(hf_llc, "influence", lambda folder: influence_of(name="private"), raising=False)
    assert b"private" not in page_of([recorded_run(tmp_path / "run")], Observer())


def susceptibilities_in(result: Susceptibility, monkeypatch: pytest.MonkeyPatch, folder: Path) -> tuple[str, Any]:
    monkeypatch.setattr(hf_llc, "influence", lambda folder: influence_of(verdict=NOISE, kernel=NOISE), raising=False)
    monkeypatch.setattr(hf_llc, "susceptibilities", lambda folders: result, raising=False)
    runs = [recorded_run(folder / name, settings=replace(SETTINGS, component=name)) for name in ("full", "l0h0")]
    text = hf_llc.write_report(*runs, path=folder / "page.html").read_text(encoding="utf-8")
    return text, json.loads(Elements(text).data)["matrices"][1]


def test_components_that_are_noise_are_named_and_not_drawn(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    text, matrix = susceptibilities_in(susceptibility_of(PARTLY, (RESOLVED, NOISE)), monkeypatch, tmp_path)
    standardised, covariance = matrix["maps"]
    assert standardised["rows"] == covariance["rows"] == ["l0h0"]
    assert [each * covariance["scale"] for each in covariance["values"][0]] == pytest.approx([-1, 0, 1, 2], rel=1e-3)
    assert covariance["note"] == "Not drawn, as they are noise: l0h1."
    assert "<td>l0h0</td><td>3 item3</td><td>2.00 ± 0.50</td>" in text
    assert "<td>l0h1</td>" not in text


def test_susceptibilities_are_told_beside_those_of_the_prior(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    result = susceptibility_of(RESOLVED, (RESOLVED,))
    text, _ = susceptibilities_in(result, monkeypatch, tmp_path / "chains")
    assert "<strong>at nβ = 0</strong>: not known from chains" in text
    control = ControlQuality(
        verdict=ControlVerdict.SAME, reason="p = 0.5", difference=0.01, correlation=0.99, beyond=0.05, chance=0.5
    )
    text, _ = susceptibilities_in(replace(result, control_quality=control), monkeypatch, tmp_path / "draws")
    assert "<strong>at nβ = 0</strong>: same: p = 0.5" in text


def test_susceptibilities_that_are_noise_have_no_numbers(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    text, matrix = susceptibilities_in(susceptibility_of(NOISE, (RESOLVED, NOISE)), monkeypatch, tmp_path)
    assert matrix["maps"] == []
    assert "<strong>covariance</strong>: noise: because" in text
    assert "± 0.50" not in text.partition("Susceptibilities of components")[2].partition("</section>")[0]


def test_influence_and_susceptibilities_of_real_runs_are_those_of_their_functions(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HOME", str(tmp_path / "home"))
    save_learned_model(tmp_path / "model", tmp_path / "text.jsonl")
    draws: SamplerSettings = replace(BY_DRAWS, keep=("losses",), recorded_draws=80)
    data = DataSettings(dataset=str(tmp_path / "text.jsonl"))
    folders = [tmp_path / "runs" / name for name in ("full", "l0.mlp")]
    for folder, component in zip(folders, (None, "l0.mlp"), strict=True):
        hf_llc.estimate(str(tmp_path / "model"), data, replace(draws, component=component), output_dir=folder)
    path = hf_llc.write_report(*folders, path=tmp_path / "page.html")
    text = path.read_text(encoding="utf-8")
    influence, susceptibility = hf_llc.influence(folders[0]), hf_llc.susceptibilities(folders)
    for quality in (influence.quality, influence.kernel_quality, susceptibility.quality):
        assert str(quality) in text
    matrices = json.loads(Elements(text).data)["matrices"]
    assert len(matrices) == 2
    for drawn in matrices[0]["maps"]:
        values = influence.influence if drawn["name"] == "influence" else influence.kernel
        assert drawn["values"][-1][0] * drawn["scale"] == pytest.approx(values[-1, 0], abs=drawn["scale"])
    assert str(tmp_path) not in text


def test_recorded_tokens_alone_are_shown_by_their_kinds(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    asked: list[dict[str, Any]] = []

    def influence(folder: Path, **options: Any) -> Influence:
        asked.append(options)
        return influence_of()

    monkeypatch.setattr(hf_llc, "influence", influence, raising=False)
    run = recorded_run(tmp_path / "run")
    (run / "points/step512/recorded/losses").rename(run / "points/step512/recorded/token-losses")
    hf_llc.write_report(run, path=tmp_path / "page.html")
    assert asked == [{"by": "token"}]
