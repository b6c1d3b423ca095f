"""`hf-llc components`, and `estimate` and `scan` of several components: one number each at one γ, nothing twice."""

import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

import hf_llc
from hf_llc import DataSettings, estimate
from hf_llc.errors import SettingsError
from hf_llc.execution.store import whole_payload
from hf_llc.results.columns import COLUMNS
from tests.helpers.command_line import SMALL, Run, files_of, refused
from tests.helpers.tiny_model import jsonl, save_tiny_model

pytestmark = pytest.mark.usefixtures("blank_pictures")
TEXT = ["--dataset", "text.jsonl"]
CHAINS = [*TEXT, *SMALL, "--sampler", "sgld-lm", "--lr", "1e-4", "--n-beta", "30", "--start", "anchor"]


@pytest.fixture(autouse=True)
def here() -> None:
    """Two checkpoints of a model with two heads, and a text."""
    for seed, step in enumerate((1, 2)):
        save_tiny_model(Path("run") / f"checkpoint-{step}", seed)
    Path("text.jsonl").write_text(jsonl(60))


def test_components_are_listed_by_name_and_kind(run: Run) -> None:
    listed = json.loads(run("components", "run/checkpoint-1", "--json").out)
    assert [each["name"] for each in listed] == [
        "embed", "l0", "l0.attn", "l0h0", "l0h1", "l0.mlp", "norms", "unembed", "full"
    ]  # fmt: skip
    assert listed[3] == {"name": "l0h0", "kind": "heads", "weights": 2096}
    assert run("components", "run/checkpoint-1", "--kind", "heads", "-q").out == "l0h0\nl0h1\n"
    assert "2,096" in run("components", "run/checkpoint-1").out
    refused(run("components", "run/checkpoint-1", "--kind", "neurons"), 2, "kinds must be of heads, groups")


def test_an_estimate_of_several_is_one_of_each_at_the_gamma_of_the_whole(run: Run) -> None:
    ran = run(
        "estimate", "run/checkpoint-1", *CHAINS, "--component", "heads,l0.mlp", "--output-dir", "several", "--json"
    )
    assert ran.code == 0, ran.err
    curves = ran.json["components"]
    assert list(curves) == ["l0h0", "l0h1", "l0.mlp"]
    settings = [curve["settings"] for curve in curves.values()]
    assert [each["component"] for each in settings] == list(curves)
    (gamma,) = {each["gamma"] for each in settings}
    assert "are ignored" not in ran.err
    whole = estimate("run/checkpoint-1", DataSettings(dataset="text.jsonl"), "importance", n_beta=30.0, draws=4)
    assert gamma == whole.settings.gamma
    alone = run("estimate", "run/checkpoint-1", *CHAINS, "--component", "l0.mlp", "--gamma", gamma, "--json").json
    assert curves["l0.mlp"]["points"][0]["llc"] == alone["llc"]
    assert curves["l0.mlp"]["points"][0]["loss"] == alone["init_loss"]


def test_losses_at_the_checkpoint_are_computed_once_and_a_second_call_computes_nothing(run: Run) -> None:
    command = ["estimate", "run/checkpoint-1", *CHAINS, "--gamma", "1000", "--output-dir", "several"]
    assert run(*command, "--component", "heads").code == 0
    first, other = (whole_payload(Path(f"several/{name}/anchor/00.json")) for name in ("l0h0", "l0h1"))
    assert first is not None
    assert other == {**first, "seconds": 0.0}
    before = {name: stat for name, stat in files_of(Path("several")).items() if "/chains/" in name}
    assert len(before) == 4
    assert run(*command, "--component", "heads").code == 0
    assert {name: files_of(Path("several"))[name] for name in before} == before


def test_a_folder_of_several_components_takes_no_single_run_and_that_of_a_run_no_components(run: Run) -> None:
    command = [*CHAINS, "--gamma", "1000", "--output-dir"]
    checkpoint = ["estimate", "run/checkpoint-1"]
    run(*checkpoint, *command, "several", "--component", "heads")
    before = files_of(Path("several"))
    for single in (checkpoint, ["scan", "run", "--num-processes", "1"]):
        refused(run(*single, *command, "several", "--component", "l0h0"), 1, "holds runs of several components")
    assert files_of(Path("several")) == before
    run(*checkpoint, *command, "alone", "--component", "l0h0")
    before = files_of(Path("alone"))
    for several in (checkpoint, ["scan", "run", "--num-processes", "1"]):
        refused(run(*several, *command, "alone", "--component", "heads"), 1, "alone holds another run")
    assert files_of(Path("alone")) == before


def test_components_of_later_calls_join_those_of_earlier_ones(run: Run) -> None:
    command = ["estimate", "run/checkpoint-1", *CHAINS, "--gamma", "1000", "--output-dir", "several"]
    run(*command, "--component", "l0h1,l0h0")
    later = run(*command, "--component", "mlps,l0h0")
    assert [line.split()[0] for line in later.out.splitlines()[2:4]] == ["l0.mlp", "l0h0"]
    shown = run("show", "several", "-q").out.splitlines()
    assert [line.split()[0] for line in shown] == ["l0h1", "l0h0", "l0.mlp"]
    assert json.loads(Path("several/components.json").read_text())["components"] == ["l0h1", "l0h0", "l0.mlp"]
    refused(run("show", "several/whole"), 1, "holds no finished run")


def test_a_scan_has_a_curve_for_each_and_rows_for_all(run: Run) -> None:
    ran = run(
        "scan",
        "run",
        *CHAINS,
        "--gamma",
        "1000",
        "--component",
        "heads",
        "--output-dir",
        "scanned",
        "--num-processes",
        1,
    )
    assert ran.code == 0, ran.err
    assert "LLC of 2 components of" in ran.out
    rows = pq.read_table("scanned/results.parquet")
    assert rows.column_names == [column.name for column in COLUMNS]
    cells = [(row["component"], row["step"]) for row in rows.to_pylist()]
    assert cells == [("l0h0", 1), ("l0h0", 2), ("l0h1", 1), ("l0h1", 2)]
    assert [json.loads(line)["llc"] for line in Path("scanned/results.jsonl").read_text().splitlines()] == rows[
        "llc"
    ].to_pylist()
    assert {"components.png", "components.svg"} <= {path.name for path in Path("scanned").iterdir()}
    alone = run(
        "scan", "run", *CHAINS, "--gamma", "1000", "--component", "l0h1", "--output-dir", "alone", "--json"
    ).json
    assert [point["llc"] for point in alone["points"]] == rows["llc"].to_pylist()[2:]
    header = next(line for line in ran.out.splitlines() if line.startswith("component"))
    assert [word for word in ("component", "weights", "converged", "over training") if word not in header] == []
    other = whole_payload(next(Path("scanned/l0h1/points").glob("checkpoint-2-*")) / "anchor" / "00.json")
    assert other is not None
    assert other["seconds"] == 0


def test_a_scan_without_gamma_measures_it_once_of_the_whole_model(run: Run) -> None:
    ran = run("scan", "run", *TEXT, "--n-beta", "30", "--draws", "4", "--chains", "2", "--sampler", "importance",
              "--component", "heads", "--output-dir", "scanned", "--json", "--num-processes", 1)  # fmt: skip
    assert ran.code == 0, ran.err
    gammas = {curve["settings"]["gamma"] for curve in ran.json["components"].values()}
    whole = run("scan", "run", *TEXT, "--n-beta", "30", "--draws", "4", "--chains", "2", "--sampler", "importance",
                "--output-dir", "all", "--json", "--num-processes", 1).json  # fmt: skip
    assert gammas == {whole["settings"]["gamma"]}


def test_what_several_components_cannot_be_combined_with_is_refused(run: Run) -> None:
    asked = ["run/checkpoint-1", *TEXT, "--component", "heads"]
    refused(run("estimate", *asked, "--push-to-hub"), 2, "--push-to-hub publishes one curve, and a list of components")
    refused(run("calibrate", *asked), 2, "hf-llc calibrate takes one component, got heads: name one")
    refused(run("scan", "run", *TEXT, "--component", "heads", "--without", "llc", "--with", "rank"), 2, "Without `llc`")
    refused(run("estimate", *asked[:-1], "groups"), 2, "component groups: GPTNeoXForCausalLM has none of these")
    refused(run("estimate", *asked[:-1], "heads,l3h0"), 1, "component l3h0: GPTNeoXForCausalLM has 1 layers")
    refused(run("estimate", *asked[:-1], "heads,neurons"), 2, "component must be a name such as l0h1")


def test_a_report_counts_components(run: Run) -> None:
    asked = ["run/checkpoint-1", *CHAINS, "--gamma", "1000", "--output-dir", "several"]
    run("estimate", *asked, "--component", "heads,l0.mlp")
    written = run("report", "several", "--json").json
    assert (written["runs"], written["components"]) == (1, 3)
    assert run("report", "several").out.split()[-2:] == ["components", "3"]


def test_from_python_several_components_have_functions_of_their_own() -> None:
    settings: dict[str, Any] = {"gamma": 1000.0, "n_beta": 30.0, "sampler": "importance", "draws": 4, "chains": 2}
    curves = hf_llc.estimate_components("run/checkpoint-1", "text.jsonl", ["l0h1", "l0h0+l0.mlp"], **settings)
    assert curves is not None
    assert list(curves) == ["l0h1", "l0h0+l0.mlp"]
    assert [row["component"] for row in curves.to_rows()] == list(curves)
    assert repr(curves) == f"<ComponentCurves {curves.model}: 2 components at 1 checkpoints>"
    scanned = hf_llc.scan_components(
        "run", "text.jsonl", "l0h1,l0.mlp", num_processes=1, revisions="checkpoint-2", **settings
    )
    assert scanned is not None
    assert [len(curve) for curve in scanned.curves.values()] == [1, 1]
    with pytest.raises(SettingsError, match="component must be one component, got heads; join several by"):
        estimate("run/checkpoint-1", "text.jsonl", component="heads")
    with pytest.raises(SettingsError, match="component must be one component, got l0h0,l0h1; join several by"):
        hf_llc.scan("run", "text.jsonl", component="l0h0,l0h1")
