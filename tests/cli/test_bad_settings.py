"""Impossible settings and wrong words: one line, exit code 2, nothing read or written."""

from pathlib import Path

import pytest

from tests.cli.ran import Run, refused

SETTINGS = [
    (["--gamma", "-1"], "--gamma is -1.*0, or a finite number from 1e-12 up"),
    (["--gamma", "1e-30"], "--gamma is 1e-30.*0, or a finite number from 1e-12 up"),
    (["--gamma", "nan"], "--gamma is nan.*finite"),
    (["--n-beta", "-5"], "--n-beta is -5.*0 or more"),
    (["--lr", "0"], "--lr is 0.*above 0"),
    (["--lr", "inf"], "--lr is inf.*finite"),
    (["--draws", "0"], "--draws is 0.*at least 4"),
    (["--chains", "0"], "--chains is 0.*at least 2"),
    (["--chains", "1"], "--chains is 1.*at least 2: one chain cannot show"),
    (["--burn-in", "-1"], "--burn-in is -1.*0 or more"),
    (["--thin", "0"], "--thin is 0.*1 or more"),
    (["--batch-size", "0"], "--batch-size is 0.*1 or more"),
    (["--seed", "-1"], "--seed is -1.*0 or more"),
    (["--threads", "0"], "--threads is 0.*1 or more"),
    (["--max-sequences", "-1"], "max.sequences is -1"),
    (["--context-length", "1"], "context.length is 1.*at least 2"),
    (["--context-length", "100000"], "--context-length is 100000.*64 tokens only"),
    (["--batch-size", "5000"], r"--batch-size is 5000, but .* packs into 83 sequences of 64 tokens\. Lower"),
    (["--lr", "0.1", "--gamma", "100"], "past the stability limit 4 of the localisation alone. Use --lr below 0.04"),
    (["--lr", "1", "--gamma", "1"], "past the stability limit: .*measured curvature.* Use --lr below"),
    (["--lr", "1"], "past the stability limit: .* or leave it out"),
    (["--sampler", "sgdl"], "sgdl.*sgld"),
    (
        ["--dtype", "float16"],
        "--dtype is 'float16'; choose one of float32, bfloat16. With either the weights are float32",
    ),
    (["--start", "here"], "--start is 'here'; choose one of auto, anchor, localiser, both, laplace"),
    (["--start", "both", "--gamma", "0"], "--start both draws from the localiser, and with --gamma 0 there is none"),
    (["--start", "laplace", "--dtype", "bfloat16"], "of which --dtype bfloat16 leaves nothing; use --dtype float32"),
    (["--batched-chains", "yes"], "--batched-chains is 'yes'; choose one of auto, on, off"),
    (["--json", "-q"], "only one of --format, --json and --quiet"),
    (["--format", "agent", "--json"], "only one of --format, --json and --quiet"),
    (["--format", "yaml"], "no --format yaml; choose one of human, agent, json, quiet"),
    (["--num-processes", "0"], "'--num-processes'.*hf-llc estimate --help"),
    (["--draws", "many"], "'--draws'.*integer.*hf-llc estimate --help"),
    (["--drawz", "4"], "No such option.*--drawz.*hf-llc estimate --help"),
    (["surplus"], "surplus.*hf-llc estimate --help"),
]


@pytest.mark.parametrize(("options", "pattern"), SETTINGS, ids=[" ".join(options) for options, _ in SETTINGS])
def test_impossible_settings(small: Run, tmp_path: Path, options: list[str], pattern: str) -> None:
    refused(small(*options), 2, pattern)
    assert not list((tmp_path / "work").rglob("chains"))


def test_wrong_commands(run: Run) -> None:
    refused(run("estimate"), 2, "Missing argument.*hf-llc estimate --help")
    refused(run("estimat", "x"), 2, "No such command 'estimat'.*'estimate'")
    assert run("estimate", "--help").code == 0
    assert run("--version").out.count("\n") == 1
