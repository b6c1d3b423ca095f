"""Independent draws on the command line: what is printed, kept and published of them says nothing of chains."""

import json
import re
import shlex
from pathlib import Path
from typing import Any

import pytest

from hf_llc.report.card.files import headline_of, portable, write_files
from hf_llc.report.card.render import Content, render_dataset_card, render_model_card, render_section, settings_file
from hf_llc.report.load import load
from tests.helpers.command_line import Ran, Run, refused
from tests.helpers.learned_model import OPTIONS, save_learned_model

CHAINS_ONLY = re.compile(r"\bchains?\b|\blr\b|burn-in|step size|R-hat|warm-up|thin\b|ε|localizing prior alone")


@pytest.fixture(scope="session")
def learned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a model that has learned its text, beside that; not to be changed."""
    folder = tmp_path_factory.mktemp("learned")
    save_learned_model(folder / "learned", folder / "learned.jsonl")
    return folder


@pytest.fixture
def draw(run: Run, learned: Path) -> Run:
    """An estimate by draws to 20 %, with further options."""
    data = learned / "learned.jsonl"
    arguments = ("estimate", learned / "learned", "--dataset", data, *OPTIONS, "--target-stderr", 0.2)
    return lambda *more: run(*arguments, *more)


@pytest.fixture
def results(draw: Run) -> dict[str, Any]:
    """What such an estimate, kept in `run`, says."""
    ran = draw("--output-dir", "run", "--json")
    assert ran.code == 0, ran.err
    return ran.json


def content() -> Content:
    """What is published of it."""
    curve = portable(load("run"), Path("run"))
    return Content(curve=curve, name="learned", headline=headline_of(curve, []))


def test_the_table_says_nothing_of_chains(draw: Run) -> None:
    ran = draw("--format", "human")
    assert ran.code == 0, ran.err
    text = " ".join(ran.out.split())
    assert CHAINS_ONLY.findall(text) == []
    assert re.search(r"\d pairs of independent draws, \d more with gradients", text)
    assert re.search(
        r"nβΔL over the prior 3\.\d+ ± 0\.\d+, of which curvature takes 0\.\d+ ± .* and slope 0\.\d+ ±", text
    )
    assert re.search(r"loss at w\* 1\.5\d+ ± 0\.\d+ nats per token, from the sequences that were drawn", text)
    assert CHAINS_ONLY.findall(ran.err) == []


def test_what_is_kept_is_shown_and_compared(run: Run, results: dict[str, Any]) -> None:
    shown = run("show", "run", "--json").json
    assert (shown["points"][0]["llc"], shown["points"][0]["lr"], shown["points"][0]["r_hat"]) == (
        results["llc"],
        None,
        None,
    )
    assert Path("run/traces.png").read_bytes().startswith(b"\x89PNG")
    assert run("show", "run").code == 0
    compared = run("compare", "run", "run", "--format", "human")
    assert compared.code == 0
    assert compared.out.splitlines()[-1].startswith("Comparable: ")


def test_a_result_is_a_settings_file_of_the_same_number(run: Run, learned: Path, results: dict[str, Any]) -> None:
    again = run(
        "estimate", learned / "learned", "--dataset", learned / "learned.jsonl", "--settings", "run/estimate.json",
        "--json", "--output-dir", "again",
    )  # fmt: skip
    assert again.code == 0, again.err
    assert (again.json["llc"], again.json["settings"]) == (results["llc"], results["settings"])


def test_the_card_says_nothing_of_chains_and_its_command_makes_the_number(
    run: Run, learned: Path, results: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    section = render_section(content())
    assert "sampler importance (independent draws of the localizing prior" in section
    assert CHAINS_ONLY.findall(section.replace("R-hat |", "").replace("no chains", "").replace("--chains 4", "")) == []
    assert "\n\n\n" not in section
    for card in (render_model_card(content()), render_dataset_card(content())):
        assert "burn_in" not in card
    assert "lr:" not in settings_file(content())
    command = re.search(r"```bash\n(hf-llc estimate .*)\n```", section)
    assert command is not None
    monkeypatch.chdir(learned)
    ran = run(*shlex.split(command[1])[1:], "--json", "--output-dir", Path.cwd().parent / "by-card")
    assert ran.code == 0, ran.err
    assert (ran.json["llc"], ran.json["stderr"]) == (results["llc"], results["stderr"])


def test_the_rows_that_are_published_are_read_back(results: dict[str, Any]) -> None:
    files = write_files(Path("published"), content(), pytest.fail)
    (row,) = map(json.loads, files["llc/results.jsonl"].splitlines())
    assert (row["llc"], row["lr"], row["r_hat"], row["step_size_stderr"]) == (results["llc"], None, None, None)
    assert row["monte_carlo_stderr"] == results["diagnostics"]["monte_carlo_stderr"]


@pytest.mark.parametrize("gamma", [1000, 30_000])
def test_a_target_is_that_of_draws_where_these_are_chosen(run: Run, learned: Path, gamma: int) -> None:
    """At the larger γ λ̂ is below 1, and the target is a share of 1."""
    ran = run(
        "estimate", learned / "learned", "--dataset", learned / "learned.jsonl", *OPTIONS[2:], "--gamma", gamma,
        "--target-stderr", 0.2, "--output-dir", "run", "--json", "--num-processes", 1,
    )  # fmt: skip
    assert ran.code == 0, ran.err
    assert ran.json["settings"]["sampler"] == "importance"
    assert ran.json["stderr"] <= 0.2 * max(1, ran.json["llc"])
    assert not Path("run/chains").exists()
    assert CHAINS_ONLY.findall(ran.err) == []


def test_no_number_is_one_line_with_a_way_out(run: Run, learned: Path) -> None:
    ran = run(
        "estimate", learned / "learned", "--dataset", learned / "learned.jsonl", "--sampler", "importance",
        "--gamma", 1e-12, "--n-beta", 30, "--batch-size", 8, "--quiet",
    )  # fmt: skip
    refused(ran, 1, r"No number: at draws of the localizing prior the loss is inf or NaN.*Raise --gamma \(now 1e-12\)")


@pytest.mark.parametrize(
    ("tokens", "pattern"),
    [
        (["calibrate", "{model}", "--sampler", "importance"], "settings of chains.*Use hf-llc estimate"),
        (["validate", "--sampler", "importance"], "--sampler must be one of auto, .*sgld.*, got 'importance'"),
        (["estimate", "{model}", "--sampler", "importance", "--gamma", "0"], "set --n-beta and --gamma above 0"),
        (["estimate", "{model}", "--sampler", "importance", "--draws", "1"], "draws must be ≥ 4"),
        (["estimate", "{model}", "--sampler", "importance", "--batch-size", "51"], "--batch-size must be ≤ 50"),
        (["estimate", "{model}", "--sampler", "importance", "--budget", "soon"], "must be a time above 0 such as 15m"),
    ],
)  # fmt: skip
def test_what_does_not_go_with_draws_is_refused_in_one_line(
    run: Run, learned: Path, tokens: list[str], pattern: str
) -> None:
    place = {"model": learned / "learned"}
    data = [] if tokens[0] == "validate" else ["--dataset", learned / "learned.jsonl"]
    ran: Ran = run(*(word.format(**place) for word in tokens), *data)
    assert ran.code == 2
    assert re.search(pattern, " ".join(ran.err.split())), ran.err
