"""`results.jsonl` holds the whole curve, and reads back as the very same one."""

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hf_llc.errors import SourceError
from hf_llc.results.curve import Curve, Point
from hf_llc.results.estimate import Verdict
from hf_llc.results.jsonl import curve_from, lines_of
from hf_llc.settings.strict_json import checksum
from tests.helpers.estimates import DIAGNOSTICS, SETTINGS, estimate


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
    result = estimate(512, llc, stderr=stderr, verdict_reason=printable, diagnostics=replace(DIAGNOSTICS, drift=llc))
    points = Curve.of_points("m", [Point(revision="r", estimate=result)], run_dir="", versions={})
    assert curve_from(lines_of(points), "") == points


def edited(**changes: Any) -> str:
    """The first line with other values."""
    return json.dumps({**json.loads(lines_of(curve()).splitlines()[0]), **changes}) + "\n"


def resealed(change: Callable[[dict[str, Any]], object], count: int = 1) -> str:
    """The first lines after a change to each of them, under the checksum that they then have."""
    rows = [json.loads(line) for line in lines_of(curve()).splitlines()[:count]]
    for row in rows:
        del row["checksum"]
        change(row)
    return "".join(json.dumps({**row, "checksum": checksum(rows)}) + "\n" for row in rows)


def in_record(**changes: object) -> Callable[[dict[str, Any]], object]:
    """A change to the record that a row holds as text."""
    return lambda row: row.update(estimate=json.dumps({**json.loads(row["estimate"]), **changes}))


def test_rows_of_one_file_are_read_in_any_spelling() -> None:
    lines = lines_of(curve())
    assert curve_from(resealed(lambda row: None, 5), ".") == curve()
    assert curve_from(b"\xef\xbb\xbf" + lines.replace("\n", "\r\n\r\n").encode(), ".") == curve()
    reordered = [json.dumps(json.loads(line), sort_keys=True) for line in lines.splitlines()]
    assert curve_from("\n".join(reordered), ".") == curve()


@pytest.mark.parametrize("change", ["edited", "cut", "doubled", "reordered", "of two files", "unsealed", "not UTF-8"])
def test_rows_that_are_not_those_that_were_written_are_refused(change: str) -> None:
    lines = lines_of(curve()).splitlines()
    other = lines_of(replace(curve(), points=curve().points[:1])).splitlines()
    text = {
        "edited": [lines[0].replace('"llc": 0.3', '"llc": 9.3'), *lines[1:]],
        "cut": lines[:-1],
        "doubled": [*lines, lines[-1]],
        "reordered": lines[::-1],
        "of two files": [*lines, *other],
        "unsealed": [json.dumps({key: value for key, value in json.loads(lines[0]).items() if key != "checksum"})],
        "not UTF-8": lines,
    }[change]
    content = "\n".join(text).encode() + (b"\x80" if change == "not UTF-8" else b"")
    assert content.decode(errors="replace") != "\n".join(lines)
    result = {"unsealed": "rows without a checksum", "not UTF-8": "is not UTF-8"}.get(change, "checksum does not match")
    with pytest.raises(
        SourceError, match=f"hf://org/model holds no results .*damaged .*{result}.*Publish the run again"
    ):
        curve_from(content, "hf://org/model")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (resealed(lambda row: row.update(llc=9.17)), r"row 1\.llc is 9\.17, but its record says 0\.3"),
        (resealed(in_record(llc="abc")), r"row 1\.estimate\.llc must be a number, got 'abc'"),
        (resealed(in_record(run_dir=3)), r"estimate\.run_dir must be a string, got 3"),
        (resealed(lambda row: row.update(model="--help")), "model is '--help', which names none"),
        (resealed(lambda row: row.update(model=["a"])), "model is a list, which names none"),
        (resealed(lambda row: row.update(revision="@/etc/passwd")), "revision is '@/etc/passwd', which names none"),
        (resealed(lambda row: row.update(revision="re:(a+)+$")), "which names none"),
        (resealed(lambda row: row.update(revision="--trust-remote-code")), "which names none"),
        (resealed(lambda row: row.update(versions='{"hf-llc": 3}')), "versions are no texts"),
        (resealed(lambda row: row.update(model=row["revision"]), 2), "not of one run"),
        (resealed(lambda row: row.update(estimate="[" * 100_000)), "nests too deep"),
        (resealed(lambda row: row.update(estimate='{"llc": NaN}')), "holds NaN"),
        (resealed(lambda row: row.update(estimate='{"llc": 1, "llc": 2}')), "the key 'llc' twice"),
    ],
)
def test_what_a_stranger_sealed_is_held_to_its_types_and_names(text: str, message: str) -> None:
    with pytest.raises(SourceError, match=message):
        curve_from(text, "hf://org/model")


@pytest.mark.parametrize(
    ("text", "message"),
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
def test_what_is_no_curve_is_refused(text: str, message: str) -> None:
    with pytest.raises(SourceError, match=message):
        curve_from(text, "hf://org/model")
