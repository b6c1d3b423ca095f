"""`hf-llc show`: the x axis that was asked for, and why points are not `converged`."""

from pathlib import Path
from typing import Any

import pytest

from hf_llc.report.export import curve_of, keep
from hf_llc.results.curve import Point
from hf_llc.results.estimate import Verdict
from tests.helpers.command_line import Run, refused
from tests.helpers.estimates import estimate
from tests.results.figures.test_plots import svg_text


@pytest.fixture
def saved() -> Path:
    """The folder of a scan at doublings of the step; the checkpoints do not say how many tokens were seen."""
    points = [Point(revision=f"step{step}", step=step, estimate=estimate(step)) for step in (1, 2, 4, 8, 16)]
    keep(curve_of("org/model", points, Path("saved")), Path("saved"))
    return Path("saved")


@pytest.mark.parametrize(("options", "name"), [([], "training step (log scale)"), (["--x", "linear"], "training step")])
def test_the_picture_has_the_scale_that_was_asked_for(run: Run, saved: Path, options: list[str], name: str) -> None:
    ran = run("show", saved, *options)
    assert (ran.code, ran.err) == (0, "Drawn: saved/llc.png, saved/llc.svg.\n")
    text = svg_text(saved / "llc.svg")
    assert name in text
    assert ("log scale" in text) == ("log scale" in name)


def test_tokens_that_nobody_knows_are_said_to_be_missing(run: Run, saved: Path) -> None:
    ran = run("show", saved, "--x-tokens")
    assert ran.code == 0
    assert "show steps, since not every checkpoint gives its tokens. Set --tokens-per-step" in ran.err
    assert "training step" in svg_text(saved / "llc.svg")


def test_there_are_three_scales(run: Run, saved: Path) -> None:
    refused(run("show", saved, "--x", "cubic"), 2, "scale must be one of auto, log, linear, got 'cubic'")
    assert not (saved / "llc.svg").exists()


def test_each_verdict_has_the_reason_of_its_first_checkpoint_below_the_table(run: Run) -> None:
    early: dict[str, Any] = {"verdict": Verdict.NOT_A_MINIMUM, "verdict_reason": "w* is no minimum"}
    rows = [estimate(1, **early), estimate(2, **early), estimate(4)]
    points = [Point(revision=f"step{result.step}", step=result.step, estimate=result) for result in rows]
    keep(curve_of("org/model", points, Path("early")), Path("early"))
    assert run("show", "early").out.splitlines()[-1] == (
        "not-a-minimum, step1: w* is no minimum (also step2, each with a `verdict_reason` of its own)"
    )
    assert "verdict_reason=w* is no minimum" in run("show", "early", "--format", "agent").out.replace("step1.", "")


def test_without_a_command_there_is_the_help_and_no_empty_error(run: Run) -> None:
    ran = run()
    assert ran.code == 2
    assert "Commands" in ran.out + ran.err
    assert "Error: ." not in ran.err
