"""The page of runs: what its data say, that no words in it can become markup, and that it loads nothing."""

import json
import re
from base64 import b64encode
from collections.abc import Sequence
from dataclasses import replace
from hashlib import sha256
from html.parser import HTMLParser
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest

import hf_llc
from hf_llc.errors import NotFoundError, SettingsError, UnusableError
from hf_llc.report.component_files import keep_components
from hf_llc.report.load import traces_in
from hf_llc.report.page.render import SCRIPTS
from hf_llc.results.columns import Column
from hf_llc.results.component_curves import ComponentCurves
from hf_llc.results.curve import Curve, Point
from hf_llc.results.estimate import ChainTrace, Estimate, Verdict
from hf_llc.results.measured import MeasureRecord
from hf_llc.results.progress import Observer
from hf_llc.settings.strict_json import sealed
from tests.helpers.estimates import SETTINGS, estimate, trace
from tests.helpers.fake_runs import write_run

HOSTILE = (
    "</script><script>alert(1)</script><img src=x onerror=alert(1)> <!-- \u2028 &lt; ![a](http://evil) {{ 7*7 }} ' \""
)


class Elements(HTMLParser):
    """The elements of a page with their attributes, and the words of its data script."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self._in_data, self.data = False, ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self._in_data = ("id", "data") in attrs

    def handle_endtag(self, tag: str) -> None:
        self._in_data = False

    def handle_data(self, data: str) -> None:
        self.data += data if self._in_data else ""


def keep_traces(folder: Path, traces: Sequence[ChainTrace]) -> None:
    """Writes them as a run leaves them."""
    folder.mkdir(parents=True, exist_ok=True)
    part = {"part": "traces", "run": "sha256:0", "payload": {"traces": [each.to_dict() for each in traces]}}
    (folder / "traces.json").write_text(json.dumps(sealed(part)))


def kept_run(folder: Path, name: str = "org/model", **changes: Any) -> Path:
    """A scan's folder with three checkpoints, one of which did not converge, another has no number, and chains."""
    points = []
    for step, llc in ((1, -0.5), (64, 3.0), (512, 13.93)):
        own = replace(estimate(step, llc), model=name, run_dir=f"points/step{step}", **changes)
        if step == 1:
            own = replace(own, verdict=Verdict.NOT_A_MINIMUM, verdict_reason="the loss falls")
        keep_traces(folder / "points" / f"step{step}", [trace(0), trace(1, level=0.06)])
        points.append(Point(revision=f"step{step}", sha=f"{step:040x}", step=step, estimate=own))
    points.append(Point(revision="step600", step=600, error="no weights"))
    return write_run(folder, Curve.of_points(name, points, run_dir="", versions={"hf-llc": "0.1.0"}))


def page_of(*runs: Any, path: Path) -> tuple[str, dict[str, Any]]:
    """The text of the page of these runs, and its data."""
    text = hf_llc.write_report(*runs, path=path).read_text(encoding="utf-8")
    return text, json.loads(Elements(text).data)


def test_the_page_lies_in_the_folder_of_its_only_run(tmp_path: Path) -> None:
    run = kept_run(tmp_path / "run")
    assert hf_llc.write_report(run) == run / "report.html"


def test_the_data_have_numbers_errors_verdicts_and_chains(tmp_path: Path) -> None:
    _, data = page_of(kept_run(tmp_path / "run"), path=tmp_path / "page.html")
    (run,) = data["runs"]
    assert [point["values"].get("llc") for point in run["points"]] == [-0.5, 3.0, 13.93, None]
    assert run["points"][2]["values"]["stderr"] == pytest.approx(0.42)
    assert run["points"][0]["verdict"] == "not-a-minimum"
    assert run["points"][0]["reason"] == "the loss falls"
    assert run["points"][3]["error"] == "no weights"
    assert [len(point["chains"]) for point in run["points"]] == [2, 2, 2, 0]
    first, second = run["points"][1]["chains"]
    assert len(first["values"]) == SETTINGS.draws
    assert first["values"][0] == pytest.approx(0.05 * SETTINGS.n_beta, rel=1e-3)
    assert second["values"][0] == pytest.approx(0.06 * SETTINGS.n_beta, rel=1e-3)
    assert data["axes"] == [{"key": "step", "label": "training step", "scale": "log"}]


def test_panels_are_all_that_was_measured_the_coefficient_first(tmp_path: Path) -> None:
    _, data = page_of(kept_run(tmp_path / "run"), path=tmp_path / "page.html")
    panels = {panel["name"]: panel for panel in data["panels"]}
    assert list(panels)[:2] == ["llc", "loss"]
    assert {"trace_hessian", "ess", "r_hat", "gamma_slope"} <= panels.keys()
    assert not {"step", "stderr", "n_beta", "gamma", "schema", "gamma_slope_stderr"} & panels.keys()
    assert (panels["llc"]["error"], panels["gamma_slope"]["error"]) == ("stderr", "gamma_slope_stderr")
    assert panels["loss"]["unit"] == "nats per token"


def test_a_measure_that_is_no_column_yet_has_a_panel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = Point.to_row
    monkeypatch.setattr(Point, "to_row", lambda point: rows(point) | {"rank_me": 3.5, "rank_me_stderr": 0.5})
    _, data = page_of(estimate(), path=tmp_path / "page.html")
    (panel,) = [each for each in data["panels"] if each["name"] == "rank_me"]
    assert panel["error"] == "rank_me_stderr"
    assert data["runs"][0]["points"][0]["values"]["rank_me"] == 3.5


RANK = MeasureRecord(
    columns=(
        Column("stable_rank", "number", "", "`‖W‖_F²/‖W‖₂²`", null="stable_rank_null", has_panel=True),
        Column("stable_rank_null", "number", "", "of random numbers"),
        Column("ranks", "numbers", "", "of each matrix"),
        Column("matrices", "integer", "", "how many"),
    ),
    values={"stable_rank": 3.5, "stable_rank_null": 9.25, "ranks": [3.0, 4.0], "matrices": 2},
)


def test_measures_beside_the_coefficient_have_a_panel_for_their_main_columns(tmp_path: Path) -> None:
    curve = hf_llc.load(kept_run(tmp_path / "run"))
    failed = MeasureRecord(columns=RANK.columns, error="no weights in /srv/secret/m")
    points = [replace(point, measures={"rank": RANK if point.step != 64 else failed}) for point in curve]
    _, data = page_of(replace(curve, points=tuple(points)), path=tmp_path / "page.html")
    panels = {panel["name"]: panel for panel in data["panels"]}
    assert (panels["stable_rank"]["null"], panels["stable_rank"]["meaning"]) == ("stable_rank_null", "‖W‖_F²/‖W‖₂²")
    assert panels["stable_rank"]["null_meaning"] == "of random numbers"
    assert not {"stable_rank_null", "ranks", "matrices"} & panels.keys()
    first, second, *_ = data["runs"][0]["points"]
    assert (first["values"]["stable_rank"], first["values"]["matrices"]) == (3.5, 2)
    assert second["missing"] == ["rank: no weights in m"]


def test_measures_alone_are_shown_without_command_and_meaning(tmp_path: Path) -> None:
    points = [Point(revision=f"step{step}", sha="a" * 40, step=step, measures={"rank": RANK}) for step in (1, 2, 3)]
    curve = Curve.of_points("org/model", points, run_dir="", versions={})
    text, data = page_of(curve, path=tmp_path / "page.html")
    assert [panel["name"] for panel in data["panels"]] == ["stable_rank"]
    assert data["axes"][0]["scale"] == "linear"
    assert "What it means" not in text
    assert "<pre tabindex" not in text


def test_the_command_repeats_the_measures(tmp_path: Path) -> None:
    curve = hf_llc.load(kept_run(tmp_path / "run"))
    points = tuple(replace(point, measures={"rank": RANK, "induction": RANK}) for point in curve)
    for shown in (points, points[2:3]):
        text, _ = page_of(replace(curve, points=shown), path=tmp_path / "page.html")
        command = re.findall(r"<code>(hf-llc .*)</code>", text)[0]
        assert command.startswith(f"hf-llc scan org/model --revisions {','.join(each.revision for each in shown)} ")
        assert command.endswith(" --with rank,induction")


def test_the_command_of_measures_alone_has_their_data_and_leaves_out_the_coefficient(tmp_path: Path) -> None:
    points = [Point(revision=f"step{step}", sha="a" * 40, step=step, measures={"rank": RANK}) for step in (1, 2)]
    folder = write_run(tmp_path / "run", Curve.of_points("org/model", points, run_dir="", versions={}))
    (tmp_path / "own.jsonl").write_text("{}")
    data = {"dataset": str(tmp_path / "own.jsonl"), "split": "train", "max_sequences": 7, "config": "de", "bos": None}
    asked = {"part": "asked", "run": "sha256:0", "payload": {"data": data, "sampler": {"seed": 3, "dtype": "float32"}}}
    (folder / "asked.json").write_text(json.dumps(sealed(asked)))
    text, _ = page_of(folder, path=tmp_path / "page.html")
    assert (
        "<code>hf-llc scan org/model --revisions step1,step2 --dataset own.jsonl --dataset-config de "
        "--max-sequences 7 --seed 3 --with rank --without llc</code>"
    ) in text
    assert str(tmp_path) not in text


@pytest.mark.parametrize(
    ("steps", "scale"), [((0, 1, 2, 4, 8, 16, 512), "log"), ((0, 1000, 2000, 3000), "linear"), ((5,), "log")]
)
def test_evenly_spaced_checkpoints_begin_with_a_linear_axis(tmp_path: Path, steps: Sequence[int], scale: str) -> None:
    points = [Point(revision=f"step{step}", step=step, measures={"rank": RANK}) for step in steps]
    _, data = page_of(Curve.of_points("m", points, run_dir="", versions={}), path=tmp_path / "page.html")
    assert data["axes"] == [{"key": "step", "label": "training step", "scale": scale}]


def test_checkpoints_without_steps_stand_in_their_order(tmp_path: Path) -> None:
    points = [Point(revision=name, measures={"rank": RANK}) for name in ("b", "a")]
    _, data = page_of(Curve.of_points("m", points, run_dir="", versions={}), path=tmp_path / "page.html")
    assert [axis["key"] for axis in data["axes"]] == ["order"]


def test_chains_of_many_draws_are_thinned_evenly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hf_llc.report.page.data.MOST_CHAIN_VALUES", 0)
    monkeypatch.setattr("hf_llc.report.page.data.FEWEST_VALUES", 7)
    _, data = page_of(kept_run(tmp_path / "run"), path=tmp_path / "page.html")
    (first, _) = data["runs"][0]["points"][0]["chains"]
    assert (first["stride"], len(first["values"])) == (3, 7)


def test_a_run_that_was_moved_finds_its_chains(tmp_path: Path) -> None:
    moved = kept_run(tmp_path / "run").rename(tmp_path / "moved")
    _, data = page_of(moved, path=tmp_path / "page.html")
    assert len(data["runs"][0]["points"][1]["chains"]) == 2


def test_damaged_chains_are_left_out(tmp_path: Path) -> None:
    run = kept_run(tmp_path / "run")
    (run / "points/step64/traces.json").write_text('{"payload": 3}')
    assert traces_in(run / "points/step64") == []
    _, data = page_of(run, path=tmp_path / "page.html")
    assert [len(point["chains"]) for point in data["runs"][0]["points"]] == [2, 0, 2, 0]


def test_runs_that_are_not_comparable_are_said_to_be(tmp_path: Path) -> None:
    first = kept_run(tmp_path / "one")
    second = kept_run(tmp_path / "two", settings=replace(SETTINGS, gamma=100.0))
    text, data = page_of(first, second, path=tmp_path / "page.html")
    assert [run["comparable"] for run in data["runs"]] == [True, False]
    assert len({run["name"] for run in data["runs"]}) == 2
    assert "Not comparable." in text


def test_settings_command_and_meaning_stand_in_the_page(tmp_path: Path) -> None:
    text, _ = page_of(kept_run(tmp_path / "run"), path=tmp_path / "page.html")
    assert "hf-llc scan org/model --revisions step1,step64,step512" in text
    assert "<strong>What it does not say.</strong>" in text
    assert "<dt>gamma</dt><dd>7800</dd>" in text
    assert "13.93 ± 0.42" in text


def test_no_path_of_this_machine_is_in_the_page(tmp_path: Path) -> None:
    text, _ = page_of(kept_run(tmp_path / "run"), path=tmp_path / "page.html")
    assert str(tmp_path) not in text
    text, _ = page_of(estimate(), path=tmp_path / "page.html")
    assert "/home/someone" not in text


def test_words_from_outside_are_text(tmp_path: Path) -> None:
    own = replace(estimate(), model=HOSTILE, verdict_reason=HOSTILE, choices={"text": HOSTILE})
    points = [
        Point(revision=HOSTILE, sha="a" * 40, step=1, estimate=own),
        Point(revision=f"{HOSTILE}2", step=2, error=HOSTILE),
    ]
    curve = Curve.of_points(HOSTILE, points, run_dir="", versions={HOSTILE: HOSTILE})
    text, data = page_of(write_run(tmp_path / "run", curve), path=tmp_path / "page.html")
    elements = Elements(text).elements
    plain, _ = page_of(kept_run(tmp_path / "plain"), path=tmp_path / "plain.html")
    assert sum(tag == "script" for tag, _ in elements) == sum(tag == "script" for tag, _ in Elements(plain).elements)
    assert not [tag for tag, _ in elements if tag in {"img", "iframe", "object", "embed", "link", "base"}]
    assert not [name for _, attributes in elements for name in attributes if name.startswith("on")]
    assert "{{" not in text.partition("<script>")[0].replace("{{ 7*7 }}", "")
    assert data["runs"][0]["points"][0]["choices"]["text"] == HOSTILE
    assert data["runs"][0]["points"][0]["reason"] == HOSTILE


def test_only_the_scripts_of_the_package_may_run_and_nothing_is_loaded(tmp_path: Path) -> None:
    text, _ = page_of(kept_run(tmp_path / "run"), path=tmp_path / "page.html")
    elements = Elements(text).elements
    policy = next(str(a["content"]) for _, a in elements if a.get("http-equiv") == "Content-Security-Policy")
    assert policy.startswith("default-src 'none'; script-src 'sha256-")
    scripts = re.findall(r"<script>(.*?)</script>", text, re.DOTALL)
    hashes = [f"'sha256-{b64encode(sha256(script.encode()).digest()).decode()}'" for script in scripts]
    assert policy.partition("script-src ")[2].partition(";")[0] == " ".join(hashes)
    assert len(scripts) == len(SCRIPTS)
    assert "unsafe" not in policy.partition("style-src")[0]
    assert not [attributes for _, attributes in elements if attributes.keys() & {"src", "srcset", "data"}]
    links = [str(attributes["href"]) for _, attributes in elements if "href" in attributes]
    assert all(link.startswith(("#", "https://arxiv.org/")) for link in links)
    assert len(text.encode()) < 600_000


def test_the_libraries_are_the_published_files() -> None:
    published = {
        "d3.min.js": "912111098ea99503a6f4967361d2bbdc9dbf58cf9c678c8e27e5b02d1a07f0c1",
        "plot.umd.min.js": "4358086467740777dd788d6b27a95cebdbaefdd50c730a3060117073bd7134cb",
    }
    folder = files("hf_llc.report.page")
    assert {name: sha256((folder / name).read_bytes()).hexdigest() for name in published} == published
    assert "D3 7.9.2" in (folder / "LICENSES.txt").read_text()
    assert "Observable Plot 0.6.17" in (folder / "LICENSES.txt").read_text()


def test_what_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"write_report needs a run"):
        hf_llc.write_report()
    with pytest.raises(SettingsError, match=r"runs\[0\] must be a Curve, an Estimate, a folder or hf://…, got 3"):
        hf_llc.write_report(3)
    with pytest.raises(NotFoundError, match="holds no finished run"):
        hf_llc.write_report(tmp_path)
    broken: Estimate = estimate(llc=None)
    with pytest.raises(UnusableError, match="no number"):
        hf_llc.write_report(broken, path=tmp_path / "page.html")


def test_the_page_says_the_words_of_the_card_on_what_numbers_mean() -> None:
    card = (Path(__file__).parents[2] / "model_cards/section.md.jinja").read_text(encoding="utf-8")
    assert re.search(r'include "meaning\.md\.jinja"', card)


def test_a_run_of_components_is_shown_whole_and_as_comparable(tmp_path: Path) -> None:
    curves = {}
    for name in ("l0h0", "l0.mlp"):
        folder = kept_run(tmp_path / "parts" / name, settings=replace(SETTINGS, component=name))
        curves[name] = hf_llc.load(folder)
    parts = ComponentCurves(model="org/model", curves=curves, run_dir=str(tmp_path / "parts"))
    keep_components(parts, Observer())
    _, data = page_of(tmp_path / "parts", path=tmp_path / "page.html")
    assert [run["component"] for run in data["runs"]] == ["l0h0", "l0.mlp"]
    assert data["differences"] == []
    assert [len(point["chains"]) for point in data["runs"][1]["points"]] == [2, 2, 2, 0]
    assert page_of(parts, path=tmp_path / "same.html")[1] == data
    whole = kept_run(tmp_path / "whole")
    _, mixed = page_of(whole, parts, path=tmp_path / "mixed.html")
    assert [run["comparable"] for run in mixed["runs"]] == [True, False, False]


def test_measures_of_the_whole_model_are_shown_beside_components(tmp_path: Path) -> None:
    names = ("l0h0", "l0.mlp", "l0h1")
    curves = {n: hf_llc.load(kept_run(tmp_path / n, settings=replace(SETTINGS, component=n))) for n in names}
    full = curve_with_bits()
    alone = [replace(point, estimate=None) for point in full.points]
    measured = Curve.of_points("org/model", alone, run_dir=".", versions={"hf-llc": "0.1.0"})
    parts = ComponentCurves(model="org/model", curves=curves, run_dir=str(tmp_path), measured=measured)
    text, data = page_of(parts, path=tmp_path / "page.html")
    assert [run["component"] for run in data["runs"]] == [*names, None]
    assert [point["values"]["quantisation_bits_10"] for point in data["runs"][3]["points"]] == [
        point.to_row()["quantisation_bits_10"] for point in full.points
    ]
    assert "quantisation_bits_10" in [panel["name"] for panel in data["panels"]]
    assert data["differences"] == []
    assert all(run["comparable"] for run in data["runs"])
    assert "3 components of" in text.partition("</title>")[0]


def test_components_of_other_settings_are_not_in_one_map(tmp_path: Path) -> None:
    runs = [
        kept_run(tmp_path / f"{name}-{n}", settings=replace(SETTINGS, component=name, n=n))
        for n in (2048, 32)
        for name in ("l0h0", "l0h1")
    ]
    _, data = page_of(kept_run(tmp_path / "whole"), *runs, path=tmp_path / "page.html")
    assert data["component_maps"] == [
        {"title": "the loss is over 2048 items", "runs": [1, 2]},
        {"title": "the loss is over 32 items", "runs": [3, 4]},
    ]
    _, data = page_of(*runs[:2], path=tmp_path / "page.html")
    assert data["component_maps"] == [{"title": "", "runs": [0, 1]}]


def test_the_title_of_many_runs_says_what_of_each_model_is_shown(tmp_path: Path) -> None:
    names = [None, "full", "l0h0", "l0h1"]
    runs = [kept_run(tmp_path / str(name), settings=replace(SETTINGS, component=name)) for name in names]
    other = [kept_run(tmp_path / "other", "org/other")]
    text, _ = page_of(*runs, *other, path=tmp_path / "page.html")
    assert "<title>LLC: 2 runs of the whole and 2 components of model, the whole of other</title>" in text
    text, _ = page_of(*runs[:2], *other, *other, path=tmp_path / "page.html")
    assert "<title>LLC: 4 runs of model, other</title>" in text


def test_reasons_why_runs_are_not_comparable_lie_behind_a_fold(tmp_path: Path) -> None:
    first = kept_run(tmp_path / "one")
    second = kept_run(tmp_path / "two", settings=replace(SETTINGS, gamma=100.0))
    text, data = page_of(first, first, second, path=tmp_path / "page.html")
    box = text.partition('<div class="warning">')[2].partition("</div>")[0]
    seen, _, folded = box.partition("<details>")
    assert "λ̂ of 1 of the 3 runs may not be compared with that of model (one) #1." in seen
    assert "γ/nβ" not in seen
    (reason,) = data["differences"]
    assert f"<li>{reason}</li>" in folded


def curve_with_bits() -> Curve:
    """Four converged checkpoints whose λ̂ and bits lie on a line, and one that did not converge."""
    columns = (Column("quantisation_bits_10", "number", "bits", "of 10 mnats", has_panel=True),)
    points = [
        Point(
            revision=f"step{step}",
            step=step,
            estimate=estimate(step, 2.0 * step, **({"verdict": Verdict.HEATED} if step == 5 else {})),
            measures={"quantisation": MeasureRecord(columns=columns, values={"quantisation_bits_10": 3.0 + step})},
        )
        for step in (1, 2, 3, 4, 5)
    ]
    return Curve.of_points("org/model", points, run_dir=".", versions={"hf-llc": "0.1.0"})


def test_the_page_has_the_fit_of_llc_and_quantisation(tmp_path: Path) -> None:
    text, data = page_of(curve_with_bits(), path=tmp_path / "page.html")
    assert "<li>R² of λ̂ and quantisation_bits_10: 1.00 over 4 checkpoints" in text
    (fit,) = data["runs"][0]["fits"]
    assert (fit["column"], round(fit["slope"], 6), round(fit["intercept"], 6)) == ("quantisation_bits_10", 2, -6)
    assert "fits-title" not in page_of(kept_run(tmp_path / "run"), path=tmp_path / "other.html")[0]


def test_a_panel_names_no_other_column_that_was_not_measured(tmp_path: Path) -> None:
    record = replace(RANK, values={**RANK.values, "stable_rank_null": None})
    points = [Point(revision=f"step{step}", step=step, measures={"rank": record}) for step in (1, 2)]
    _, data = page_of(Curve.of_points("m", points, run_dir="", versions={}), path=tmp_path / "page.html")
    assert (data["panels"][0]["null"], data["panels"][0]["null_meaning"]) == ("", "")
