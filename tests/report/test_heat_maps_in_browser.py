"""Heat maps of the page in a browser: of layers behind a fold, of influences; pointed at, walked through by keys, as
tables, and with hostile words in them."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import hf_llc
from hf_llc.results.matrix import MatrixVerdict
from tests.helpers.browser import CHROMIUM, Page
from tests.helpers.estimates import SETTINGS
from tests.report.test_page import HOSTILE, kept_run
from tests.report.test_page_in_browser import SHOWN
from tests.report.test_page_lists import MATRICES, curve_of, point
from tests.report.test_page_matrices import influence_of, recorded_run

pytestmark = [
    pytest.mark.processes,
    pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium on this machine"),
]
LIST = "[data-list=stable_ranks]"
CELLS = "g[aria-label=cell] rect"


@pytest.fixture
def layers(page: Page, tmp_path: Path) -> Page:
    """The page of three checkpoints with a rank of each of two matrices, one of which is missing at one of them."""
    page.problems.clear()
    page.requests.clear()
    curve = curve_of(point(1, [3.0, 4.0]), point(2, [5.0, None]), point(4, [7.0, 800.0]))
    page.open(hf_llc.write_report(curve, path=tmp_path / "page.html"))
    return page


def opened(page: Page) -> Page:
    page.click(f"{LIST} summary")
    page.until(f"document.querySelector('{LIST} {CELLS}') !== null")
    return page


def count(page: Page, selector: str) -> int:
    return int(page.value(f"document.querySelectorAll('{selector}').length"))


def test_a_list_lies_behind_a_fold_under_the_panel_of_its_measure(layers: Page) -> None:
    assert count(layers, f"[data-panel=stable_rank] {LIST}") == 1
    assert count(layers, f"{LIST} {CELLS}") == 0
    opened(layers)
    assert count(layers, f"{LIST} {CELLS}") == 5
    texts = layers.value(f"[...document.querySelectorAll('{LIST} svg text')].map(each => each.textContent)")
    assert {"0.up", "1.up", "1", "2", "4"} <= set(texts)
    assert layers.problems == []
    assert not [each for each in layers.requests if not each.startswith(("file:", "data:"))]


def test_a_cell_shows_its_number_and_opens_its_checkpoint(layers: Page) -> None:
    opened(layers).hover(f"{LIST} {CELLS}[data-row='0'][data-column='1']")
    assert layers.value(SHOWN) == f"step2\n{MATRICES[0]}\nstable_ranks = 5"
    layers.click(f"{LIST} {CELLS}[data-row='0'][data-column='1']")
    assert layers.value("document.querySelector('#point h2').textContent") == "step2"


def test_colours_are_logarithmic_over_a_factor_of_a_hundred(layers: Page) -> None:
    opened(layers)
    fills = layers.value(f"[...document.querySelectorAll('{LIST} {CELLS}')].map(each => each.getAttribute('fill'))")
    assert len(set(fills)) == 5, "on a linear scale 3, 4, 5 and 7 of 800 have nearly one colour"
    channels = [[int(fill[i : i + 2], 16) for i in (1, 3, 5)] for fill in (fills[0], fills[2])]
    assert sum(abs(a - b) for a, b in zip(*channels, strict=True)) > 50


def test_a_fold_stays_open_when_the_axis_changes(layers: Page) -> None:
    opened(layers).click("input[name=y][value=log]")
    assert count(layers, f"{LIST}[open] {CELLS}") == 5


def test_arrow_keys_go_from_cell_to_cell_past_those_that_are_missing(layers: Page) -> None:
    opened(layers).value(f"document.querySelector('{LIST} svg[tabindex]').focus()")
    layers.press("End")
    assert layers.value(SHOWN).startswith(f"step4\n{MATRICES[1]}")
    layers.press("ArrowLeft")
    status = f"document.querySelector('{LIST} [aria-live]').textContent"
    assert layers.value(status) == f"step1, {MATRICES[1]}, stable_ranks = 4"
    layers.press("ArrowRight")
    assert layers.value(status).startswith("step4")
    layers.press("Home")
    layers.press("Enter")
    assert layers.value("document.querySelector('#point h2').textContent") == "step1"
    layers.press("Escape")
    assert layers.value(SHOWN) == ""


def test_a_small_matrix_is_a_table_too(layers: Page) -> None:
    opened(layers)
    rows = f"[...document.querySelectorAll('{LIST} table tr')].map(row => [...row.children].map(e => e.textContent))"
    assert layers.value(rows) == [["", "1", "2", "4"], [MATRICES[0], "3", "5", "7"], [MATRICES[1], "4", "", "800"]]


def test_hostile_names_of_matrices_run_nothing(page: Page, tmp_path: Path) -> None:
    page.problems.clear()
    curve = curve_of(*(point(step, [3.0, 4.0], (HOSTILE, f"{HOSTILE}2")) for step in (1, 2)))
    page.open(hf_llc.write_report(curve, path=tmp_path / "page.html"))
    opened(page).hover(f"{LIST} {CELLS}[data-row='0'][data-column='1']")
    assert "onerror=alert(1)" in page.value(SHOWN)
    assert count(page, f"img, {LIST} script") == 0
    assert page.problems == []


def test_a_screen_reader_has_the_name_of_a_heat_map(layers: Page) -> None:
    nodes = opened(layers).call("Accessibility.getFullAXTree")["nodes"]
    names = {
        (node["role"]["value"], node.get("name", {}).get("value", ""))
        for node in nodes
        if not node.get("ignored") and "role" in node
    }
    assert ("application", "stable_ranks: 2 rows, 3 columns; arrow keys go from cell to cell") in names


def open_influence(page: Page, monkeypatch: pytest.MonkeyPatch, folder: Path, width: int = 1000, **of: Any) -> None:
    monkeypatch.setattr(hf_llc, "influence", lambda folder: influence_of(**of), raising=False)
    page.problems.clear()
    page.open(hf_llc.write_report(recorded_run(folder / "run"), path=folder / "page.html"), width=width)


def test_an_influence_shows_items_and_error_and_its_kernel_by_a_switch(
    page: Page, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    open_influence(page, monkeypatch, tmp_path)
    cells = f"[data-matrix='0'] {CELLS}"
    assert count(page, cells.replace("'", '"')) == 6
    page.hover(f"{cells}[data-row='0'][data-column='1']")
    shown = "more weight on: 0 item0\nloss of: 1 item1\ninfluence = -1 ± 0.1 nats per unit of weight"
    assert page.value(SHOWN) == shown
    page.click("input[name=matrix-0][value='1']")
    page.hover(f"{cells}[data-row='0'][data-column='1']")
    assert page.value(SHOWN).startswith("loss of: 0 item0\nand of: 1 item1\ncorrelation = 0.25 ± 0.25")
    assert page.value(SHOWN).endswith("0 within 2 standard errors")
    pale = f"+document.querySelector(\"{cells}[data-row='0'][data-column='1']\").getAttribute('fill-opacity')"
    assert page.value(pale) == 0.3
    assert page.problems == []


def test_noise_has_no_picture(page: Page, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    noise = MatrixVerdict.NOISE
    open_influence(page, monkeypatch, tmp_path, verdict=noise, kernel=noise)
    assert count(page, ".matrix svg") == 0
    assert page.problems == []


def test_hostile_names_run_nothing(page: Page, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    open_influence(page, monkeypatch, tmp_path, name=HOSTILE)
    page.hover(f"[data-matrix='0'] {CELLS}[data-row='0'][data-column='1']")
    assert "onerror=alert(1)" in page.value(SHOWN)
    assert count(page, "img, .matrix script") == 0
    assert page.problems == []


def test_on_a_phone_a_large_matrix_fits_the_window(page: Page, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    open_influence(page, monkeypatch, tmp_path, width=390, count=150, name="a rather long beginning of a text, ")
    assert count(page, '[data-matrix="0"] ' + CELLS) == 100 * 99
    assert page.value("document.documentElement.scrollWidth <= document.documentElement.clientWidth") is True


def test_components_that_did_not_converge_are_marked(page: Page, tmp_path: Path) -> None:
    runs = [kept_run(tmp_path / name, settings=replace(SETTINGS, component=name)) for name in ("l0h0", "l0h1")]
    page.open(hf_llc.write_report(*runs, path=tmp_path / "page.html"))
    marks = '[data-panel=components] g[aria-label="dot"]:last-of-type path'
    assert count(page, marks) == 2


def test_long_names_of_wide_letters_stay_inside_the_picture(
    page: Page, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    open_influence(page, monkeypatch, tmp_path, width=390, name="=" * 30 + "\u6f22" * 10)
    texts = "[...document.querySelectorAll('.matrix svg[tabindex] text')]"
    assert page.value(f"Math.min(...{texts}.map(each => each.getBoundingClientRect().x))") >= 0
