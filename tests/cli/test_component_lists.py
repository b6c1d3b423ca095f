"""Several components in one call: each checkpoint is brought, loaded and gone over once, and the numbers are those of a
command for each."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from hf_llc.errors import UnusableError
from hf_llc.execution import chain_runner, loaded_model
from hf_llc.execution.model_slot import load_checkpoint
from hf_llc.measures import MEASURES
from hf_llc.sampling.chain import run_chain
from tests.helpers.command_line import SMALL, Ran, Run, files_of, refused
from tests.helpers.tiny_model import jsonl, read_files, save_tiny_model
from tests.hub_server.server import HubServer

pytestmark = pytest.mark.usefixtures("blank_pictures")
CHAINS = [
    "--sampler",
    "sgld-lm",
    "--lr",
    "1e-4",
    "--start",
    "anchor",
    "--gradient",
    "minibatch",
    "--batches",
    "independent",
]
SAMPLERS = {
    "chains": ([*SMALL, *CHAINS], {"sgld-lm"}),
    "chains with a step size to measure": ([*SMALL, "--sampler", "sgld-lm"], {"sgld-lm"}),
    "draws": ([*SMALL, "--sampler", "importance"], {"importance"}),
    "chains of a relative prior": ([*SMALL, *CHAINS, "--prior", "relative"], {"sgld-lm"}),
    "draws of a relative prior": ([*SMALL, "--sampler", "importance", "--prior", "relative"], {"importance"}),
    "draws where they serve": (["--batch-size", "4", "--chains", "2"], {"importance", "sgld-lm"}),
}
"""Options, and the samplers that they lead to."""
FIXED = ["--gamma", "1000", "--n-beta", "30", "--num-processes", "1"]


@pytest.fixture(autouse=True)
def here() -> None:
    """Two checkpoints of a model with two heads, and a text."""
    for seed, step in enumerate((1, 2)):
        save_tiny_model(Path("run") / f"checkpoint-{step}", seed)
    Path("text.jsonl").write_text(jsonl(60))


@pytest.fixture
def scan(run: Run) -> Run:
    """`scan("--component", …)`: of the two checkpoints."""
    return lambda *more: run("scan", "run", "--dataset", "text.jsonl", *FIXED, "--json", *more)


@pytest.fixture
def loaded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The revisions of checkpoints that are read into memory from now on."""
    revisions: list[str] = []

    def counted(plan: Any, device: str) -> Any:
        revisions.append(plan.source.subfolder or plan.source.path.name)
        return load_checkpoint(plan, device)

    monkeypatch.setattr(loaded_model, "load_checkpoint", counted)
    return revisions


def numbers(curve: dict[str, Any]) -> list[tuple[Any, ...]]:
    names = ("revision", "llc", "stderr", "loss", "verdict")
    return [tuple(point[name] for name in names) for point in curve["points"]]


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_scan_gives_the_numbers_of_one_for_each_and_loads_a_checkpoint_once(
    scan: Run, loaded: list[str], sampler: str
) -> None:
    asked, used = SAMPLERS[sampler]
    ran = scan(*asked, "--component", "heads,l0.mlp", "--output-dir", "several")
    assert ran.code == 0, ran.err
    measured = ["checkpoint-2", "checkpoint-1"] if "measure" in sampler else []
    assert loaded == [*measured, "checkpoint-1", "checkpoint-2"]
    samplers = {curve["points"][0]["estimate"]["settings"]["sampler"] for curve in ran.json["components"].values()}
    assert samplers == used
    for name, curve in ran.json["components"].items():
        alone = scan(*asked, "--component", name, "--output-dir", f"alone-{name}")
        assert numbers(alone.json) == numbers(curve)
        assert all(point[1] is not None for point in numbers(curve))


def test_an_estimate_loads_its_checkpoint_once_and_once_for_gamma(run: Run, loaded: list[str]) -> None:
    asked = ["estimate", "run/checkpoint-2", "--dataset", "text.jsonl", *SMALL, "--num-processes", "1", "--json"]
    ran = run(*asked, "--component", "all", "--output-dir", "several")
    assert ran.code == 0, ran.err
    assert len(ran.json["components"]) == 9
    assert loaded == ["checkpoint-2"] * 2


def test_losses_at_the_checkpoint_are_shared_with_components_of_later_calls(scan: Run) -> None:
    scan(*SMALL, *CHAINS, "--component", "heads", "--output-dir", "several")
    shared = sorted(Path("several/losses").rglob("anchor/*.json"))
    assert len({path.parents[1] for path in shared}) == 2
    before = {path: path.stat().st_mtime_ns for path in shared}
    later = scan(*SMALL, *CHAINS, "--component", "mlps", "--output-dir", "several")
    assert later.code == 0, later.err
    assert {path: path.stat().st_mtime_ns for path in shared} == before
    assert sorted(Path("several/losses").rglob("anchor/*.json")) == shared
    for path in Path("several").glob("l0*/points/*/anchor/00.json"):
        stored = json.loads(path.read_bytes())["payload"]["losses"]
        assert stored in [json.loads(each.read_bytes())["payload"]["losses"] for each in shared]


def test_what_was_interrupted_goes_on(scan: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the middle of a component of the second checkpoint."""
    undisturbed = scan(*SMALL, *CHAINS, "--component", "heads", "--output-dir", "undisturbed")
    begun: list[str] = []

    def interrupted(*arguments: Any, **options: Any) -> Any:
        begun.append("chain")
        if len(begun) == 6:
            raise KeyboardInterrupt
        return run_chain(*arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr("hf_llc.execution.chain_runner.run_chain", interrupted)
        assert scan(*SMALL, *CHAINS, "--component", "heads", "--output-dir", "several").code == 130
    kept = {name: stat for name, stat in files_of(Path("several")).items() if "/chains/" in name}
    assert len(kept) == 5
    ran = scan(*SMALL, *CHAINS, "--component", "heads", "--output-dir", "several")
    assert ran.code == 0, ran.err
    assert kept.items() <= files_of(Path("several")).items()
    for name, curve in ran.json["components"].items():
        assert numbers(curve) == numbers(undisturbed.json["components"][name])


def test_measures_are_of_the_whole_model_once_a_checkpoint(scan: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[int] = []
    of_rank: Callable[..., Any] = MEASURES["rank"].run

    def counted(context: Any) -> Any:
        taken.append(sum(each.numel() for each in context.bench.model.parameters() if each.requires_grad))
        return of_rank(context)

    monkeypatch.setattr(MEASURES["rank"], "run", counted)
    command = [*SMALL, *CHAINS, "--component", "heads", "--output-dir", "several"]
    ran = scan(*command, "--with", "rank")
    assert ran.code == 0, ran.err
    weights = ran.json["components"]["l0h0"]["points"][0]["estimate"]["diagnostics"]["dimension"]
    assert len(taken) == 2
    assert min(taken) > 10 * weights
    assert [point["revision"] for point in ran.json["measured"]["points"]] == ["checkpoint-1", "checkpoint-2"]
    alone = scan("--with", "rank", "--without", "llc", "--output-dir", "alone")
    assert [point["measures"]["rank"]["values"] for point in ran.json["measured"]["points"]] == [
        point["measures"]["rank"]["values"] for point in alone.json["points"]
    ]
    rows = pq.read_table("several/results.parquet").to_pylist()
    assert [row["component"] for row in rows] == ["l0h0", "l0h0", "l0h1", "l0h1", None, None]
    assert [row["stable_rank"] is None for row in rows] == [True] * 4 + [False] * 2
    # A later call for other components keeps them.
    later = scan(*SMALL, *CHAINS, "--component", "mlps", "--output-dir", "several")
    assert later.code == 0, later.err
    assert [row["component"] for row in pq.read_table("several/results.parquet").to_pylist()][-2:] == [None, None]


def test_trackers_have_a_run_for_each(scan: Run, run: Run) -> None:
    ran = scan(*SMALL, *CHAINS, "--component", "heads", "--output-dir", "several", "--report-to", "tensorboard")
    assert ran.code == 0, ran.err
    asked = ["estimate", "run/checkpoint-2", "--dataset", "text.jsonl", *SMALL, *FIXED, *CHAINS, "--component", "heads"]
    one = run(*asked, "--output-dir", "one", "--report-to", "tensorboard", "--json")
    for name, curve in ran.json["components"].items():
        assert reported(Path("several") / name) == [(point["step"], point["llc"]) for point in curve["points"]]
        (point,) = one.json["components"][name]["points"]
        assert [llc for _, llc in reported(Path("one") / name)] == [point["llc"]]


def reported(folder: Path) -> list[tuple[int, Any]]:
    events = EventAccumulator(str(folder / "tensorboard"))
    events.Reload()
    return [(event.step, pytest.approx(event.value)) for event in events.Scalars("llc")]


def test_downloads_within_a_limit_are_made_once_for_all(run: Run, hub: HubServer, text: Path) -> None:
    """γ is measured at the last checkpoint, which stays until its components are done."""
    repo = hub.add_model("org/m")
    for step in range(2):
        repo.commit(read_files(Path(f"run/checkpoint-{step + 1}")), f"step{step}")
    size = sum(path.stat().st_size for path in Path("run/checkpoint-1").iterdir())
    asked = ["--dataset", text, *SMALL, *CHAINS, "--num-processes", 1, "--component", "heads", "--json"]
    ran = run("scan", "org/m", *asked, "--output-dir", "out", "--max-disk", 2 * size + 1000)
    assert ran.code == 0, ran.err
    assert len(hub.requests("model.safetensors", "GET")) == 2
    assert not list(Path("out").rglob("*.safetensors"))
    local = run("scan", "run", *asked, "--output-dir", "local")
    for name, curve in ran.json["components"].items():
        pairs = zip(numbers(curve), numbers(local.json["components"][name]), strict=True)
        assert all(here[1:] == there[1:] for here, there in pairs)


def test_a_dry_run_has_a_row_for_each_and_the_sum(run: Run) -> None:
    asked = [
        "estimate",
        "run/checkpoint-2",
        "--dataset",
        "text.jsonl",
        *SMALL,
        "--component",
        "heads,l0.mlp",
        "--sampler",
        "importance",
        "--dry-run",
    ]
    ran = run(*asked, "--json")
    assert ran.code == 0, ran.err
    moving = {name: each["moving"] for name, each in ran.json["components"].items()}
    assert moving == {"l0h0": 2096, "l0h1": 2096, "l0.mlp": 8352}
    total, each = ran.json["total"], list(ran.json["components"].values())
    sampling = sum(one["seconds"] for one in each)
    assert total["preparing_seconds"] > 1
    assert total["seconds"] == pytest.approx(total["preparing_seconds"] + sampling)
    assert total["tokens"] == 3 * each[0]["tokens"]
    assert run(*asked, "-q").out.strip().isdecimal()
    output = run(*asked).out
    assert "3 components: nothing was run" in output
    assert "of which 8,352 move" not in output
    assert not Path("hf-llc-runs").exists()


def test_a_dry_run_of_a_scan_lists_checkpoints_and_counts_them(run: Run) -> None:
    asked = ["--dataset", "text.jsonl", *SMALL, *CHAINS, "--component", "heads", "--dry-run"]
    ran, one = (run(*command, *asked, "--json") for command in (["scan", "run"], ["estimate", "run/checkpoint-2"]))
    assert ran.code == 0, ran.err
    assert [each["name"] for each in ran.json["checkpoints"]] == ["checkpoint-1", "checkpoint-2"]
    for name, each in ran.json["components"].items():
        assert each["tokens"] == 2 * one.json["components"][name]["tokens"]
    output = " ".join(run("scan", "run", *asked).out.split())
    assert "checkpoint-1" in output
    assert "2 components at 2 checkpoints: nothing was run" in output


@pytest.fixture
def estimated(run: Run) -> Callable[..., Ran]:
    """`estimated("--output-dir", …)`: heads and an MLP of the last checkpoint, by chains."""
    asked = ["estimate", "run/checkpoint-2", "--dataset", "text.jsonl", *SMALL, *CHAINS, "--component", "heads,l0.mlp"]
    return lambda *more: run(*asked, "--json", *more)


@pytest.mark.processes
def test_two_processes_give_the_numbers_of_one(estimated: Run) -> None:
    one, two = (estimated("--num-processes", count, "--output-dir", f"by-{count}") for count in (1, 2))
    assert two.code == 0, two.err
    for name, curve in one.json["components"].items():
        assert numbers(two.json["components"][name]) == numbers(curve)


def test_a_checkpoint_that_an_error_left_displaced_is_loaded_again(
    scan: Run, loaded: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    chains = ["--component", "l0h0,l0h1", *SMALL, *CHAINS]
    expected = numbers(scan(*chains, "--output-dir", "undisturbed").json["components"]["l0h1"])
    loaded.clear()

    def displaced(objective: Any, *arguments: Any, **options: Any) -> Any:
        if len(loaded) == 1:
            objective.parameters[0].add_(1.0)
            raise UnusableError("the chain ends in the middle")
        return run_chain(objective, *arguments, **options)

    monkeypatch.setattr(chain_runner, "run_chain", displaced)
    scanned = scan(*chains, "--output-dir", "disturbed").json["components"]
    assert "ends in the middle" in scanned["l0h0"]["points"][0]["error"]
    assert numbers(scanned["l0h1"]) == expected


@pytest.mark.parametrize("damage", [lambda file: file.write_text("{"), lambda file: file.unlink()])
@pytest.mark.parametrize("file", ["l0h1/scan.json", "components.json"])
def test_damage_in_a_component_of_an_earlier_call_does_not_stop_another_one(
    scan: Run, file: str, damage: Callable[[Path], Any]
) -> None:
    asked = [*SMALL, *CHAINS, "--output-dir", "several", "--component"]
    assert scan(*asked, "heads").code == 0
    damage(Path("several") / file)
    later = scan(*asked, "l0.mlp,l0.attn")
    assert later.code == 0, later.err
    assert list(later.json["components"]) == ["l0.mlp", "l0.attn"]
    assert json.loads(Path("several/components.json").read_text())["components"][-2:] == ["l0.mlp", "l0.attn"]
    if file != "components.json":
        assert "Component l0h1 of an earlier call is left out" in later.err


@pytest.mark.parametrize("option", [("--gamma", "900"), ("--n-beta", "3"), ("--max-sequences", "8")])
@pytest.mark.parametrize("command", [("scan", "run"), ("estimate", "run/checkpoint-2")])
def test_components_of_other_settings_or_data_do_not_join_a_folder(
    run: Run, command: tuple[str, ...], option: tuple[str, str]
) -> None:
    asked = [*command, "--dataset", "text.jsonl", *FIXED, *SMALL, *CHAINS, "--output-dir", "several"]
    assert run(*asked, "--component", "l0h0,l0h1").code == 0
    before = files_of(Path("several"))
    refused(run(*asked, *option, "--component", "l0.mlp,embed"), 1, "several holds a run with other inputs")
    refused(run(*asked, "--component", "l0h0"), 1, "several holds runs of several components")
    assert files_of(Path("several")) == before
    assert run(*asked, "--component", "l0.mlp,embed").code == 0


def test_parts_of_components_are_joined_one_by_one(run: Run, scan: Run) -> None:
    for index in (1, 2):
        part = ["--shard", f"{index}/2", "--output-dir", f"part-{index}"]
        assert scan(*SMALL, *CHAINS, "--component", "heads", *part).code == 0
    refused(run("merge", "part-1", "part-2", "--output-dir", "whole"), 1, "several components: join the parts of each")
    merged = run("merge", "part-1/l0h0", "part-2/l0h0", "--output-dir", "whole", "--json")
    assert merged.code == 0, merged.err
    alone = scan(*SMALL, *CHAINS, "--component", "l0h0", "--output-dir", "alone")
    assert numbers(merged.json) == numbers(alone.json)


def test_all_norms_are_one_component(scan: Run) -> None:
    ran = scan(*SMALL, *CHAINS, "--component", "norms", "--output-dir", "one")
    assert ran.code == 0, ran.err
    assert ran.json["settings"]["component"] == "norms"
    several = scan(*SMALL, *CHAINS, "--component", "norms,l0h0", "--output-dir", "several")
    assert numbers(several.json["components"]["norms"]) == numbers(ran.json)
