"""Impossible settings and wrong words: one line, exit code 2, nothing read or written."""

from pathlib import Path

import pytest

from tests.helpers.command_line import Run, refused

SETTINGS: list[tuple[list[object], str]] = [
    (["--gamma", "-1"], "gamma must be ≥ 0, got -1.0"),
    (["--gamma", "1e-30"], "gamma must be 0 or ≥ 1e-12, got 1e-30"),
    (["--gamma", "nan"], "gamma must be a finite number, got nan"),
    (["--n-beta", "-5"], "--n-beta must be ≥ 0, got -5.0"),
    (["--lr", "0"], "lr must be > 0, got 0.0"),
    (["--lr", "inf"], "lr must be a finite number, got inf"),
    (["--draws", "0"], "draws must be ≥ 4, got 0: fewer have no"),
    (["--chains", "0"], "chains must be ≥ 2, got 0"),
    (["--chains", "1"], "chains must be ≥ 2, got 1: one chain cannot show"),
    (["--burn-in", "-1"], "--burn-in must be ≥ 0, got -1"),
    (["--thin", "0"], "thin must be ≥ 1, got 0"),
    (["--batch-size", "0"], "--batch-size must be ≥ 1, got 0"),
    (["--seed", "-1"], "seed must be ≥ 0, got -1"),
    (["--threads", "0"], "threads must be ≥ 1, got 0"),
    (["--max-sequences", "-1"], "--max-sequences must be ≥ 0, got -1: 0 takes all"),
    (["--context-length", "1"], "--context-length must be ≥ 2, got 1: a next-token loss"),
    (["--context-length", "100000"], "--context-length must be ≤ 64, .*got 100000"),
    (
        ["--batch-size", "5000"],
        r"--batch-size must be ≤ 83, the sequences of 64 tokens in the data, got 5000\. Lower --batch-size",
    ),
    (
        ["--lr", "0.1", "--gamma", "100"],
        "--lr times --gamma must be < 4, .*got 10; lower --lr below 0.04",
    ),
    (["--lr", "1", "--gamma", "1"], "--lr must be < .*got 1.*past the stability limit .*measured curvature"),
    (["--lr", "1"], "past the stability limit .* or leave it out"),
    (["--sampler", "sgdl"], "sgld.*sgdl"),
    (
        ["--dtype", "float16"],
        "dtype must be one of float32, bfloat16, got 'float16': with either the weights are float32",
    ),
    (["--start", "here"], "start must be one of auto, anchor, prior, both, laplace, got 'here'"),
    (["--start", "both", "--gamma", "0"], "--start must be anchor with gamma 0, .*got both"),
    (["--start", "laplace", "--dtype", "bfloat16"], "which --dtype bfloat16 rounds away; use --dtype float32"),
    (["--json", "-q"], "only one of --format, --json and --quiet"),
    (["--format", "agent", "--json"], "only one of --format, --json and --quiet"),
    (["--format", "yaml"], "--format must be one of human, agent, json, quiet, got 'yaml'"),
    (["--num-processes", "0"], "'--num-processes'.*hf-llc estimate --help"),
    (["--draws", "many"], "'--draws'.*integer.*hf-llc estimate --help"),
    (["--drawz", "4"], "No such option.*--drawz.*hf-llc estimate --help"),
    (["--gamma", ""], "'--gamma'.*number.*hf-llc estimate --help"),
    (["--gamma", "1e400"], "gamma must be a finite number, got inf"),
    (["--n-beta", "1e308"], r"--n-beta must be ≤ 1e\+15, got 1e\+308"),
    (["--lr", "1e-400"], "lr must be > 0, got 0.0"),
    (["--seed", 2**70], "seed must be ≤ 9223372036854775807, got about"),
    (["--draws", 10**12], "draws must be ≤ 1000000000, got 1000000000000"),
    (["--thin", 10**9], "--draws times --thin plus --burn-in must be ≤ 1000000000"),
    (["--threads", 10**6], "threads must be ≤ 4096, got 1000000"),
    (["--target-stderr", "nan"], "--target-stderr must be a finite number, got nan"),
    (["--target-stderr", "-1"], "--target-stderr must be > 0, got -1.0"),
    (["--max-chains", 10**12], "--max-chains must be ≤ 100000, got 1000000000000"),
    (["--num-processes", 10**12], "'--num-processes'.*less than or equal to 10000"),
    (["--device", "tpu"], "--device must be one of cpu.* on this machine, got 'tpu'"),
    (["--sampler", ""], "sampler must be a string that is not empty, got ''; leave it out"),
    (["--params", ""], "params must be a string that is not empty, got ''"),
    (["--params", "re:a{99999999999}"], "is not a regular expression"),
    (["--sampler", "x" * 5000], "--sampler must be one of auto"),
    (["surplus"], "surplus.*hf-llc estimate --help"),
]


@pytest.mark.parametrize(
    ("options", "pattern"), SETTINGS, ids=[" ".join(map(str, options))[:60] for options, _ in SETTINGS]
)
def test_impossible_settings(small: Run, tmp_path: Path, options: list[object], pattern: str) -> None:
    refused(small(*options), 2, pattern)
    assert not list((tmp_path / "work").rglob("chains"))


@pytest.mark.parametrize("options", [["--gguf-file"], ["--split"], ["--text-column"], ["--settings"]])
def test_a_word_of_thousands_of_characters_is_shown_by_its_ends(small: Run, options: list[str]) -> None:
    line = refused(small(*options, "x" * 5000), 2 if options == ["--settings"] else 1, "x{50}…")
    assert len(line) < 500


def test_wrong_commands(run: Run) -> None:
    refused(run("estimate"), 2, "Missing argument.*hf-llc estimate --help")
    refused(run("estimat", "x"), 2, "No such command 'estimat'.*'estimate'")
    assert run("estimate", "--help").code == 0
    assert run("--version").out.count("\n") == 1
