"""`--profile`: where the time went, beside a number that stays the same."""

import shutil
from pathlib import Path

import pytest

from hf_llc.results.profile import PARTS
from tests.helpers.command_line import SMALL, Run

WORKED = ("loading", "data", "measuring", "forward_backward", "update", "noise", "io", "results", "other")


def test_the_number_stays_the_same_and_the_parts_are_all_of_the_time(small: Run) -> None:
    plain = small("--json", "--output-dir", "plain").json
    ran = small("--json", "--output-dir", "timed", "--profile")
    json = ran.json
    times = json.pop("profile")
    assert "profile" not in plain
    for name in ("llc", "stderr", "chains", "diagnostics", "init_loss", "settings"):
        assert json[name] == plain[name]
    assert times.keys() == {*PARTS, "total", "processes"}
    assert times["total"] == pytest.approx(sum(times[name] for name in PARTS))
    assert min(times[name] for name in WORKED) > 0
    # The command is longer than its estimate, whose own clock is another one.
    assert times["total"] > json["seconds"]["total"]
    assert "forward, backward" in ran.err


def test_the_table_is_on_stderr_and_ends_what_is_said(small: Run) -> None:
    ran = small("--profile")
    assert ran.code == 0
    title, header, *rows = ran.err[ran.err.index("Where ") :].splitlines()
    assert title.split()[2:] == ["seconds", "went"]
    assert header.split()[:3] == ["part", "seconds", "share"]
    shares = [float(row.split("%")[0].split()[-1]) for row in rows]
    assert sum(shares) == pytest.approx(100, abs=1)
    assert any(row.startswith("noise ") for row in rows)
    assert "Where " not in ran.out


def test_quiet_is_still_the_number_alone_on_stdout(small: Run) -> None:
    ran = small("-q", "--profile")
    float(ran.out)
    assert "seconds went" in ran.err


def test_a_scan_has_one_too(run: Run, tiny: Path, text: Path) -> None:
    for name in ("checkpoint-1", "checkpoint-2"):
        shutil.copytree(tiny, Path("series") / name)
        (Path("series") / name / "extra.txt").write_text(name)
    ran = run("scan", "series", "--dataset", text, *SMALL, "--profile", "--json", "--num-processes", 1)
    assert ran.code == 0, ran.err
    times = ran.json["profile"]
    assert times["total"] == pytest.approx(sum(times[name] for name in PARTS))
    assert min(times[name] for name in WORKED) > 0
