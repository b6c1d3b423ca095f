"""`hf-llc compare`: several runs as one table, one picture and one answer to whether they may be compared."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from hf_llc.report.export import curve_of, keep
from hf_llc.results.curve import Point
from tests.helpers.command_line import Run, refused
from tests.helpers.estimates import SETTINGS, estimate


@pytest.fixture
def runs() -> list[str]:
    """`one` and `two` are comparable and have two steps in common; `three` is at another γ."""
    for name, model, gamma, steps in (
        ("one", "org/small", SETTINGS.gamma, (1, 2, 4)),
        ("two", "org/large", SETTINGS.gamma, (2, 4, 8)),
        ("three", "else/small", 100.0, (2,)),
    ):
        results = [estimate(step, 10.0 + step, settings=replace(SETTINGS, gamma=gamma)) for step in steps]
        points = [Point(revision=f"step{each.step}", step=each.step, estimate=each) for each in results]
        failed = Point(revision="step16", step=16, error="no weights")
        keep(curve_of(model, [*points, failed], Path(name).resolve()), Path(name))
    return ["one", "two", "three"]


def test_the_table_has_a_line_for_each_step_and_says_they_are_comparable(run: Run, runs: list[str]) -> None:
    ran = run("compare", *runs[:2])
    assert ran.code == 0
    lines = [line.split() for line in ran.out.splitlines()]
    assert ["1", "11.00", "±", "0.42", "2.8594"] in lines
    assert ["2", "12.00", "±", "0.42", "2.8594", "12.00", "±", "0.42", "2.8594"] in lines
    assert ["16", "failed", "failed"] in lines
    assert [line[0] for line in lines if line and line[0].isdecimal()] == ["1", "2", "4", "8", "16"]
    assert ran.out.splitlines()[-1].startswith("Comparable: ")
    assert Path("hf-llc-compare/compare.png").is_file()
    assert Path("hf-llc-compare/compare.svg").read_bytes().startswith(b"<?xml")


def test_what_is_not_comparable_is_said_everywhere(run: Run, runs: list[str]) -> None:
    ran = run("compare", *runs, "--output-dir", "pictures")
    assert (ran.code, "Comparable" in ran.out) == (0, False)
    assert "Not comparable. γ/nβ is 29.04 for small (one) and large, 0.3723 for small (three)" in ran.out
    result = run("compare", *runs, "--json").json
    assert result["comparable"] is False
    assert [each["comparable"] for each in result["runs"]] == [True, True, False]
    assert run("compare", *runs, "--quiet").out == "not comparable\n"
    assert "comparable=False" in run("compare", *runs, "--format", "agent").out.splitlines()


def test_json_holds_the_rows_of_every_run(run: Run, runs: list[str]) -> None:
    result = run("compare", *runs[:2], "--json").json
    assert set(result) == {"schema", "comparable", "differences", "runs", "pictures"}
    for name, each in zip(runs, result["runs"], strict=False):
        rows = [json.loads(line) for line in Path(name, "results.jsonl").read_text().splitlines()]
        assert each["points"] == rows


def test_a_scan_an_estimate_and_two_of_one_name_can_be_compared(run: Run, small: Run, runs: list[str]) -> None:
    assert small("--output-dir", "estimated").code == 0
    result = run("compare", "estimated", "one", "one", "--json").json
    assert [each["name"] for each in result["runs"]] == ["model", "small (one) #2", "small (one) #3"]
    assert "The data is" in " ".join(result["differences"])


def test_what_cannot_be_compared_at_all_is_refused(run: Run, runs: list[str]) -> None:
    refused(run("compare", "one"), 2, "two or more runs")
    refused(run("compare", "one", "nowhere"), 1, "nowhere holds no finished run")
    refused(run("compare", "one", "two", "--x", "cubic"), 2, "scale must be one of auto, log, linear, got 'cubic'")
    assert not Path("hf-llc-compare").exists()
