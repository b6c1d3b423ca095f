"""`results.jsonl` holds the whole curve, and reads back as the very same one."""

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hf_llc.curve import Curve, Point
from hf_llc.errors import SourceError
from hf_llc.published import curve_from, lines_of
from hf_llc.results import Verdict
from tests.adapters.estimates import DIAGNOSTICS, SETTINGS, estimate


def curve() -> Curve:
    """A copy, a failure, one without number, one at other settings, and names of the world."""
    first = estimate(0, 0.1 + 0.2, choices={"gamma": "0.1 nats", "lr": "ε = 1e-5"})
    points = [
        Point(revision="step0", sha="a" * 40, stage="stage1", step=0, tokens=0, estimate=first),
        Point(revision="step8-kopie ø", step=8, duplicate_of="step0", estimate=first),
        Point(revision="step9", step=9, error="no weights"),
        Point(revision="step10", step=10, estimate=estimate(10, None, verdict=Verdict.DIVERGED)),
        Point(revision="step11", estimate=estimate(11, settings=replace(SETTINGS, seed=7), cross_check={"llc": 1.5})),
    ]
    return Curve.of_points("org/model", points, run_dir=".", versions={"hf-llc": "0.1.0", "torch": "2.13.0"})


def test_what_is_written_reads_back_as_it_was() -> None:
    assert curve_from(lines_of(curve()), ".") == curve()
    assert lines_of(curve_from(lines_of(curve()), ".")) == lines_of(curve())


def test_a_curve_shares_only_the_settings_that_all_points_have() -> None:
    read = curve_from(lines_of(curve()), "hf://org/model")
    assert "seed" not in read.settings
    assert read.settings["gamma"] == SETTINGS.gamma
    assert read.run_dir == "hf://org/model"


def test_every_line_has_the_columns_in_one_type() -> None:
    rows = [json.loads(line) for line in lines_of(curve()).splitlines()]
    assert [row["revision"] for row in rows] == ["step0", "step8-kopie ø", "step9", "step10", "step11"]
    assert len({tuple(row) for row in rows}) == 1
    for name in rows[0]:
        assert len({type(row[name]) for row in rows if row[name] is not None}) <= 1, name


@given(st.floats(allow_nan=False, allow_infinity=False), st.floats(min_value=0, allow_infinity=False), st.text())
@settings(max_examples=100, deadline=None)
def test_any_number_and_reason_survive(llc: float, stderr: float, reason: str) -> None:
    printable = "".join(c for c in reason if ord(c) >= 160 or 32 <= ord(c) < 127)
    found = estimate(512, llc, stderr=stderr, verdict_reason=printable, diagnostics=replace(DIAGNOSTICS, drift=llc))
    made = Curve.of_points("m", [Point(revision="r", estimate=found)], run_dir="", versions={})
    assert curve_from(lines_of(made), "") == made


def edited(**changes: Any) -> str:
    """The first line with other values."""
    return json.dumps({**json.loads(lines_of(curve()).splitlines()[0]), **changes}) + "\n"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "holds no results"),
        ("{", "damaged"),
        ("[]\n", "damaged"),
        ("{}\n", "damaged"),
        (edited(schema=99), "schema 99; this version reads 1"),
        (edited(estimate="{}"), "damaged"),
        (edited(estimate=3), "damaged"),
        (edited(versions=None), "damaged"),
        (edited(revision="step\x1b[2J"), "control characters"),
        (edited(versions='{"a": "\\u009b1m"}'), "control characters"),
        (edited(verdict="no-verdict", estimate='{"schema": 1}'), "damaged"),
    ],
)
def test_what_is_no_curve_is_refused(text: str, words: str) -> None:
    with pytest.raises(SourceError, match=words):
        curve_from(text, "hf://org/model")
