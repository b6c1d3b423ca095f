"""`hf-llc validate` from outside."""

import json

import pytest

from hf_llc.measures import MEASURES
from tests.helpers.command_line import Run

QUICK = ("--chains", 2, "--draws", 40)


def test_json_is_a_list_of_cases_with_the_documented_keys(run: Run) -> None:
    ran = run("validate", "--case", "gaussian", *QUICK, "--json")
    assert ran.code == 0
    (results,) = json.loads(ran.out)
    documented = {"case", "params", "truth", "llc", "stderr", "verdict", "sampler", "gradient_evaluations", "seconds"}
    assert documented <= set(results)
    assert results["case"] == "gaussian"
    assert results["sampler"] == "baoab"
    assert results["gradient_evaluations"] > 2 * 40


def test_the_net_of_ones_choice_has_its_own_truth(run: Run) -> None:
    ran = run("validate", "--case", "dln", "--widths", "3,2,3", "--rank", 2, *QUICK, "--json")
    (results,) = json.loads(ran.out)
    assert results["truth"] == 4.0
    assert results["params"]["widths"] == [3, 2, 3]


def test_people_get_a_table(run: Run) -> None:
    ran = run("validate", "--case", "gaussian", *QUICK)
    assert ran.out.splitlines()[0].strip() == "Exact answers"
    assert "gaussian" in ran.out
    assert "±" in ran.out


def test_cases_by_draws_stand_in_the_same_table(run: Run) -> None:
    ran = run("validate", "--case", "gaussian", "--case", "gaussian-draws", *QUICK)
    rows = [line for line in ran.out.splitlines() if line.split()[:1] in (["gaussian"], ["gaussian-draws"])]
    assert len(rows) == 2
    assert all("±" in row for row in rows)
    assert "converged" in rows[1]


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("--case", "cubic"), 1, "case must be one of gaussian"),
        (("--case", "gaussian", "--rank", 2), 2, "need --case dln"),
        (("--widths", "a,b"), 2, "must be whole numbers"),
        (("--widths", "4,4", "--rank", 5), 2, "rank must be 0 to the smallest"),
        (("--widths", "4,4", "--rank", 2, "--samples", 3), 2, "must exceed the 4 inputs"),
        (("--widths", "4,4", "--rank", 2, "--samples", 50, "--batch-size", 64), 2, "and the batch size"),
        (("--sampler", "nuts"), 2, "sampler must be one of"),
        (("--momentum", 1.0), 2, "momentum must be < 1, got 1.0"),
        (("--batch-size", 0, "--samples", 500), 2, "--batch-size must be ≥ 1, got 0"),
        (("--batch-size", 8), 2, "--batch-size needs --samples"),
        (("--device", "tpu"), 2, "on this machine, got 'tpu'"),
        (("--n-beta", "1e308"), 2, "--n-beta must be ≤ 1e+15, got 1e+308"),
        (("--n-beta", "0"), 2, "--n-beta must be > 0, got 0.0"),
        (("--samples", "-5"), 2, "samples must be ≥ 0, got -5"),
        (("--widths", "0,4"), 2, "widths must be ≥ 1, got 0"),
        (("--widths", "4"), 2, "widths must be 2 or more, got 1"),
        (("--widths", "10000000,10000000", "--rank", "1"), 1, "are free; use smaller widths"),
        (("--size", "2m"), 1, "size must be one of 1m"),
        (("--seed", 2**70), 2, "seed must be ≤ 9223372036854775807"),
        (("--draws", 10**12), 2, "draws must be ≤ 1000000000"),
        (("--case", ""), 2, "case must be a string that is not empty"),
    ],
)
def test_impossible_options_are_refused_in_one_line(
    run: Run, arguments: tuple[object, ...], code: int, message: str
) -> None:
    ran = run("validate", *arguments)
    assert ran.code == code
    assert message in " ".join(ran.err.split())
    assert ran.out == ""


def test_measures_have_known_answers_too(run: Run) -> None:
    ran = run("validate", "--measures", "--json")
    assert ran.code == 0
    answers = json.loads(ran.out)
    assert {answer["measure"] for answer in answers} == {name for name in MEASURES if name != "llc"}
    assert all(answer["is_met"] for answer in answers)
    assert run("validate", "--measures", "--case", "gaussian").code == 2


def test_an_answer_that_is_not_met_is_named_and_ends_with_1(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hf_llc.measures.spectral_ranks.stable_rank", lambda values: 2.0)
    monkeypatch.setattr("hf_llc.measures.exact_answers.MEASURES", {"rank": MEASURES["rank"]})
    ran = run("validate", "--measures")
    assert ran.code == 1
    met = [line.split()[-1] for line in ran.out.splitlines() if line.startswith("rank")]
    assert met == ["NO", "yes"] * 3
