"""The page in a browser: pointed at, clicked, driven by keys, on a phone's width, and with hostile words in it."""

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import hf_llc
from hf_llc.results.curve import Curve, Point
from tests.helpers.browser import CHROMIUM, Page
from tests.helpers.estimates import SETTINGS, estimate
from tests.helpers.fake_runs import write_run
from tests.report.test_page import HOSTILE, RANK, curve_with_bits, kept_run

pytestmark = [
    pytest.mark.processes,
    pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium on this machine"),
]
POINT = '[data-panel="llc"] circle.point'
SHOWN = "document.getElementById('tip').hidden ? '' : document.getElementById('tip').textContent"


@pytest.fixture
def report(page: Page, tmp_path: Path) -> Page:
    """The browser at the page of one run."""
    page.problems.clear()
    page.requests.clear()
    page.open(hf_llc.write_report(kept_run(tmp_path / "run")))
    return page


def test_it_loads_nothing_and_no_script_fails(report: Page, tmp_path: Path) -> None:
    assert report.problems == []
    assert report.requests == [(tmp_path / "run/report.html").resolve().as_uri()]
    assert report.value("document.querySelectorAll('#panels figure').length") > 5
    assert report.value(f"document.querySelectorAll('{POINT}').length") == 3


def test_hovering_shows_number_error_and_verdict(report: Page) -> None:
    report.hover(f"{POINT}[data-point='0']")
    assert report.value(SHOWN) == "step1\nλ̂ = -0.5 ± 0.42\nnot-a-minimum: the loss falls"
    report.hover("h1")
    assert report.value(SHOWN) == ""
    report.hover("[data-panel='loss'] circle[data-point='2']")
    assert report.value(SHOWN) == "step512\nloss = 2.8594 nats per token\nconverged"


def test_a_click_shows_the_chains_of_that_point(report: Page) -> None:
    assert report.value("document.getElementById('point').hidden") is True
    report.click(f"{POINT}[data-point='1']")
    assert report.value("document.querySelector('#point h2').textContent") == "step64"
    assert report.value("document.querySelectorAll('[data-panel=chains] [aria-label=line] path').length") == 2 * 2
    pressed = "[...document.querySelectorAll('circle[aria-pressed=true]')].map(c => c.dataset.point)"
    assert report.value(pressed) == ["1"]
    report.click("#numbers button[data-point='3']")
    assert report.value("document.querySelector('#point').textContent").startswith("step600no weights")


def test_the_axis_becomes_linear_and_back(report: Page) -> None:
    def places() -> list[float]:
        found: list[float] = report.value(f"[...document.querySelectorAll('{POINT}')].map(c => +c.getAttribute('cx'))")
        return found

    logarithmic = places()
    report.click("input[name=scale][value=linear]")
    first, middle, last = places()
    assert (middle - first) / (last - first) == pytest.approx(63 / 511, abs=0.01)
    assert (logarithmic[1] - logarithmic[0]) / (logarithmic[2] - logarithmic[0]) > 0.5
    other = "[...document.querySelectorAll('[data-panel=loss] circle')].map(c => +c.getAttribute('cx'))"
    assert report.value(other) == [first, middle, last], "panels share the axis"
    report.click("input[name=scale][value=log]")
    assert places() == logarithmic


def test_the_bar_of_a_point_is_one_standard_error_up_and_down(report: Page) -> None:
    heights = report.value(f"[...document.querySelectorAll('{POINT}')].map(c => +c.getAttribute('cy'))")
    unit = (heights[0] - heights[2]) / (13.93 + 0.5)
    bars = "[...document.querySelectorAll('[data-first] [aria-label=rule] line')]"
    ends = report.value(f"{bars}.map(l => [+l.getAttribute('y1'), +l.getAttribute('y2')])")
    for (first, second), middle in zip(ends, heights, strict=True):
        assert sorted([first, second]) == pytest.approx([middle - 0.42 * unit, middle + 0.42 * unit], abs=0.1)
    assert report.value("document.querySelectorAll('[data-first] [aria-label=area] path').length") == 1


def test_a_logarithmic_y_axis_leaves_out_what_is_not_above_0_and_says_so(report: Page) -> None:
    report.click("input[name=y][value=log]")
    assert report.value(f"document.querySelectorAll('{POINT}').length") == 2
    assert "1 not above 0 left out" in report.value("document.querySelector('[data-panel=llc] figcaption').textContent")
    assert report.problems == []


def test_keys_reach_every_point_and_open_it(report: Page) -> None:
    focused = "[document.activeElement.dataset.point, document.activeElement.getAttribute('aria-label')]"
    for _ in range(12):
        report.press("Tab")
        if report.value("document.activeElement.matches('circle')"):
            break
    assert report.value(focused) == ["0", "step1, λ̂ = -0.5 ± 0.42, not-a-minimum: the loss falls"]
    report.press("ArrowRight")
    assert report.value(focused)[0] == "1"
    assert report.value(SHOWN).startswith("step64")
    report.press("End")
    report.press("Enter")
    assert report.value("document.querySelector('#point h2').textContent") == "step512"
    report.press("Escape")
    assert report.value(SHOWN) == ""
    report.press("Tab")
    assert report.value("document.activeElement.matches('circle')") is False, "one point alone is a stop of Tab"


def test_a_screen_reader_has_names_for_pictures_controls_and_tables(report: Page) -> None:
    nodes = report.call("Accessibility.getFullAXTree")["nodes"]
    names = {
        (node["role"]["value"], node.get("name", {}).get("value", ""))
        for node in nodes
        if not node.get("ignored") and "role" in node
    }
    assert ("radio", "log") in names
    assert ("table", "model") in names
    assert ("button", "step64, λ̂ = 3 ± 0.42, converged: R-hat 1.012") in names
    assert {"Over training", "Every number", "Settings, and how to make it again"} <= {
        name for role, name in names if role == "heading"
    }
    assert not [role for role, name in names if role in {"button", "radio", "link"} and not name]


@pytest.mark.parametrize("width", [390, 320])
def test_on_a_phone_nothing_is_wider_than_the_window(page: Page, tmp_path: Path, width: int) -> None:
    page.open(hf_llc.write_report(kept_run(tmp_path / "run")), width=width, height=800)
    page.click("#numbers button[data-point='1']")
    assert page.value("document.documentElement.scrollWidth <= document.documentElement.clientWidth") is True
    page.hover(f"{POINT}[data-point='2']")
    assert page.value("document.getElementById('tip').getBoundingClientRect().right <= innerWidth") is True


def test_components_become_a_heat_map(page: Page, tmp_path: Path) -> None:
    runs = [
        kept_run(tmp_path / name, settings=replace(SETTINGS, component=name)) for name in ("l0h0", "l0h1", "l0.mlp")
    ]
    page.open(hf_llc.write_report(*runs, path=tmp_path / "page.html"))
    cells = "[data-panel='components'] [aria-label=cell] rect"
    assert page.value(f'document.querySelectorAll("{cells}").length') == 9
    page.hover(f"{cells}[data-run='1'][data-point='2']")
    assert "step512\nλ̂ = 13.93" in page.value(SHOWN)


def maps_of(page: Page) -> list[list[list[str]]]:
    """The heat maps of components as tables: a list a row."""
    table = "[...map.querySelectorAll('tr')].map(row => [...row.children].map(each => each.textContent))"
    maps: list[list[list[str]]] = page.value(
        f"[...document.querySelectorAll('[data-panel=components]')].map(map => {table})"
    )
    return maps


def component_run(folder: Path, name: str, llc: float, **settings: Any) -> Path:
    """A run of one component at one checkpoint."""
    own = estimate(512, llc, settings=replace(SETTINGS, component=name, **settings))
    point = Point(revision="step512", sha="a" * 40, step=512, estimate=own)
    return write_run(folder, Curve.of_points("org/model", [point], run_dir="", versions={}))


def test_components_of_other_settings_have_a_map_of_their_own(page: Page, tmp_path: Path) -> None:
    numbers = {("l0h0", 2048): 1.5, ("l0h1", 2048): 2.5, ("l0h0", 32): 0.25, ("l0h1", 32): 0.75}
    runs = [component_run(tmp_path / f"{name}-{n}", name, llc, n=n) for (name, n), llc in numbers.items()]
    page.open(hf_llc.write_report(*runs, path=tmp_path / "page.html"))
    assert maps_of(page) == [
        [["", "512"], ["l0h0", "1.5"], ["l0h1", "2.5"]],
        [["", "512"], ["l0h0", "0.25"], ["l0h1", "0.75"]],
    ]
    titles = page.value(
        "[...document.querySelectorAll('[data-panel=components] strong')].map(each => each.textContent)"
    )
    assert titles == [f"λ̂ of components: the loss is over {n} items" for n in (2048, 32)]


def test_no_run_of_a_component_overwrites_another_one(page: Page, tmp_path: Path) -> None:
    numbers = [("one", "l0h0", 1.5), ("two", "l0h1", 2.5), ("three", "l0h0", 1.25)]
    runs = [component_run(tmp_path / folder, name, llc) for folder, name, llc in numbers]
    page.open(hf_llc.write_report(*runs, path=tmp_path / "page.html"))
    assert maps_of(page) == [[["", "512"], ["l0h0", "1.5"], ["l0h1", "2.5"], ["model (three)", "1.25"]]]


def test_no_two_runs_have_the_same_line(page: Page, tmp_path: Path) -> None:
    runs = [component_run(tmp_path / f"l0h{head}", f"l0h{head}", 1.0) for head in range(40)]
    page.open(hf_llc.write_report(kept_run(tmp_path / "whole"), *runs, path=tmp_path / "page.html"))
    marks = "[...document.querySelectorAll('#legend svg g[aria-label=line]')]"
    lines = page.value(f"{marks}.map(e => [e.getAttribute('stroke'), e.getAttribute('stroke-dasharray')].join(' '))")
    assert len(lines) == len(set(lines)) == 41
    assert lines[0] == "#4269d0 "
    assert all(re.search(r" \d", each) for each in lines[1:]), "what may not be compared with the first is dashed"
    drawn = "[...document.querySelectorAll('[data-first] g[aria-label=line]')]"
    drawn_lines = page.value(
        f"{drawn}.map(e => [e.getAttribute('stroke'), e.getAttribute('stroke-dasharray')].join(' '))"
    )
    assert set(drawn_lines) <= set(lines)


def test_what_was_measured_at_one_checkpoint_alone_has_no_panel(page: Page, tmp_path: Path) -> None:
    missing = replace(RANK, values={})
    points = [
        Point(
            revision=f"step{step}",
            step=step,
            estimate=estimate(step),
            measures={"rank": RANK if step == 2 else missing},
        )
        for step in (1, 2, 3)
    ]
    page.open(hf_llc.write_report(Curve.of_points("m", points, run_dir="", versions={}), path=tmp_path / "page.html"))
    assert page.value("document.querySelectorAll('[data-panel=stable_rank]').length") == 0
    note = page.value("document.querySelector('#panels > .note').textContent")
    assert note == "At one checkpoint alone, see the tables: stable_rank."


def test_a_single_estimate_shows_its_chains_at_once(page: Page, tmp_path: Path) -> None:
    page.open(hf_llc.write_report(estimate(), path=tmp_path / "page.html"))
    assert page.value("document.querySelector('#point h2').textContent") == "step512"
    assert page.value("document.querySelectorAll('#panels figure').length") == 1


def test_measures_alone_are_drawn_with_what_they_are_of_random_numbers(page: Page, tmp_path: Path) -> None:
    points = [Point(revision=f"step{step}", step=step, measures={"rank": RANK}) for step in (1, 2, 3)]
    page.open(hf_llc.write_report(Curve.of_points("m", points, run_dir="", versions={}), path=tmp_path / "page.html"))
    assert page.value("document.querySelectorAll('[data-panel=stable_rank] [aria-label=line] path').length") == 2
    page.hover("[data-panel=stable_rank] circle[data-point='1']")
    assert page.value(SHOWN) == "step2\nstable_rank = 3.5\nstable_rank_null = 9.25"
    page.click("[data-panel=stable_rank] circle[data-point='1']")
    assert page.value("document.querySelector('#point h2').textContent") == "step2"


def test_hostile_words_run_nothing(page: Page, tmp_path: Path) -> None:
    own = replace(estimate(), model=HOSTILE, verdict_reason=HOSTILE, choices={"text": HOSTILE})
    points = [Point(revision=f"{HOSTILE}{step}", sha="a" * 40, step=step, estimate=own) for step in (1, 9)]
    curve = Curve.of_points(HOSTILE, points, run_dir="", versions={HOSTILE: HOSTILE})
    page.problems.clear()
    page.open(hf_llc.write_report(write_run(tmp_path / "run", curve)))
    page.hover(f"{POINT}[data-point='0']")
    page.click(f"{POINT}[data-point='0']")
    shown: Any = page.value("document.querySelector('#point').textContent")
    assert "onerror=alert(1)" in shown
    assert page.value("document.querySelectorAll('img, #point script').length") == 0
    assert page.problems == []


def test_llc_over_the_bits_of_quantisation_has_a_point_a_checkpoint_and_a_line(page: Page, tmp_path: Path) -> None:
    page.problems.clear()
    page.open(hf_llc.write_report(curve_with_bits(), path=tmp_path / "report.html"))
    assert page.problems == []
    place = '#fits [data-panel="llc over quantisation_bits_10"]'
    assert page.value(f"document.querySelectorAll('{place} circle.point').length") == 5
    assert page.value(f"document.querySelectorAll('{place} circle.point')[4].style.fill") == "canvas"
    assert page.value(f"document.querySelectorAll('{place} g[aria-label=line] path').length") == 1
    steps = f"[...document.querySelectorAll('{place} g[aria-label=text] text')].map(each => each.textContent)"
    assert page.value(steps) == ["1", "2", "3", "4"]
    assert page.value(f"document.querySelectorAll('{place} g[aria-label=rule] line').length") == 5
    page.hover(f"{place} circle[data-point='2']")
    assert page.value(SHOWN) == "step3\nλ̂ = 6 ± 0.42\nconverged: R-hat 1.012"


def test_a_printed_page_has_its_folds_open_and_fits_the_paper(page: Page, tmp_path: Path) -> None:
    runs = [
        kept_run(tmp_path / name, settings=replace(SETTINGS, component=name))
        for name in ("l0h0", "l0h1", "l0h2", "l0h3")
    ]
    page.call("Emulation.setEmulatedMedia", media="print")
    try:
        page.open(hf_llc.write_report(*runs, path=tmp_path / "page.html"), width=718)
        assert page.value("document.querySelector('#numbers details').open") is False
        assert page.value("document.querySelector('#numbers details td').checkVisibility()") is True
        assert page.value("document.documentElement.scrollWidth <= document.documentElement.clientWidth") is True
    finally:
        page.call("Emulation.setEmulatedMedia", media="")
