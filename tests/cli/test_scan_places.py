"""`hf-llc scan` wherever the checkpoints of a series live: the same weights give the same numbers everywhere."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from tests.helpers.command_line import SMALL, Run, refused
from tests.helpers.tiny_model import jsonl, make_model, read_files, save_tiny_model
from tests.hub_server.repository import Content
from tests.hub_server.server import HubServer

pytestmark = pytest.mark.usefixtures("blank_pictures")

FIXED = ["--gamma", 1000, "--lr", 1e-4, "--sampler", "sgld-lm", "--start", "anchor", "--gradient", "minibatch",
         "--batches", "independent", "--num-processes", 1]  # fmt: skip
"""Nothing is left to measure."""
TOKENIZER = ("tokenizer.json", "tokenizer_config.json")
MEGATRON = {"mp_rank_00/model_optim_rng.pt": b"raw", "latest_checkpointed_iteration.txt": b"2000"}
Files = dict[str, Content]


@pytest.fixture(scope="session")
def weights(tmp_path_factory: pytest.TempPathFactory) -> list[Files]:
    """The files of two checkpoints, tokenizer included."""
    folder = tmp_path_factory.mktemp("places")
    return [dict(read_files(save_tiny_model(folder / str(seed), seed))) for seed in range(2)]


@pytest.fixture(scope="session")
def expected(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[float]]:
    """Filled by the first test that needs it: λ̂ of the two checkpoints."""
    return {}


def put(folder: Path, files: Files) -> None:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        assert isinstance(content, bytes)
        (folder / name).write_bytes(content)


def below(folder: str, files: Files) -> Files:
    return {f"{folder}/{name}": content for name, content in files.items()}


def without_tokenizer(files: Files) -> Files:
    return {name: content for name, content in files.items() if name not in TOKENIZER}


def tags(hub: HubServer, weights: list[Files]) -> tuple[list[object], list[str]]:
    repo = hub.add_model("org/bloom")
    for files, step in zip(weights, (1000, 10000), strict=True):
        repo.commit(files, "work")
        repo.tag(f"global_step{step}", "work")
    return ["org/bloom", "--revisions", "global_step*"], ["global_step1000", "global_step10000"]


def commits(hub: HubServer, weights: list[Files]) -> tuple[list[object], list[str]]:
    repo = hub.add_model("org/trainer")
    shas = [repo.commit(files, "main", f"step {5 * k + 5}") for k, files in enumerate(weights)]
    return ["org/trainer", "--revisions", "commits:main"], [sha[:12] for sha in shas]


def subfolders(hub: HubServer, weights: list[Files]) -> tuple[list[object], list[str]]:
    """The tokenizer is at the top only; one folder is of another kind, and one is of another library."""
    files: Files = {name: weights[0][name] for name in TOKENIZER}
    for k, each in enumerate(weights):
        files |= below(f"step-{1000 * k}", without_tokenizer(each))
    files |= below("iter_0002000", dict(MEGATRON)) | {"figures/loss.png": b"p"}
    hub.add_model("org/folders", files)
    return ["org/folders", "--revisions", "subfolder:step-*"], ["step-0", "step-1000"]


def subfolders_of_a_branch(hub: HubServer, weights: list[Files]) -> tuple[list[object], list[str]]:
    repo = hub.add_model("org/folders")
    for k, each in enumerate(weights):
        repo.commit(below(f"runs/a/checkpoint-{k}", each), "dev")
    command = ["org/folders@dev", "--revisions", "subfolder:runs/*/checkpoint-*"]
    return [*command], ["runs/a/checkpoint-0", "runs/a/checkpoint-1"]


def local_subfolders(hub: HubServer, weights: list[Files]) -> tuple[list[object], list[str]]:
    put(Path("tree"), {name: weights[0][name] for name in TOKENIZER})
    for k, each in enumerate(weights):
        put(Path(f"tree/run/step-{k}"), without_tokenizer(each))
    # The tokenizer above a folder is at the top that was named.
    return ["tree", "--revisions", "subfolder:run/step-*"], ["run/step-0", "run/step-1"]


def repositories(hub: HubServer, weights: list[Files]) -> tuple[list[object], list[str]]:
    names = ["org/Tiny-1.1B-step-50K-105b", "org/Tiny-1.1B-step-240k-503b"]
    for name, each in zip(names, weights, strict=True):
        hub.add_model(name, each)
    hub.add_model("org/other", weights[0])
    hub.page_size = 2
    return ["org", "--revisions", "repos:Tiny-*"], names


def listed_repositories(hub: HubServer, weights: list[Files]) -> tuple[list[object], list[str]]:
    hub.add_model("org/multi-seed_0-step_20k", weights[0])
    hub.add_model("else/where-step_40k", weights[1])
    Path("names").write_text("multi-seed_0-step_20k  # the first\nelse/where-step_40k\n")
    return ["org/multi", "--revisions", "repos:@names"], ["org/multi-seed_0-step_20k", "else/where-step_40k"]


def pickled(hub: HubServer, weights: list[Files]) -> tuple[list[object], list[str]]:
    repo = hub.add_model("org/pickled")
    for seed, each in enumerate(weights):
        torch.save(make_model(seed).state_dict(), "w.bin")
        repo.commit(
            {name: content for name, content in each.items() if name != "model.safetensors"}
            | {"pytorch_model.bin": Path("w.bin").read_bytes()},
            f"step{seed}",
        )
    return ["org/pickled"], ["step0", "step1"]


def renamed(hub: HubServer, weights: list[Files]) -> tuple[list[object], list[str]]:
    repo = hub.add_model("org/old")
    for k, each in enumerate(weights):
        repo.commit(each, f"ckpt_00{k}")
    repo.renamed_to = "new/home"
    return ["org/old"], ["ckpt_000", "ckpt_001"]


def trainer(hub: HubServer, weights: list[Files]) -> tuple[list[object], list[str]]:
    for k, each in enumerate(weights):
        put(Path(f"out/checkpoint-{500 * k}"), each | {"optimizer.pt": b"o"})
    Path("out/runs").mkdir()
    return ["out"], ["checkpoint-0", "checkpoint-500"]


@pytest.mark.parametrize(
    "layout",
    [trainer, tags, commits, subfolders, subfolders_of_a_branch, local_subfolders, repositories, listed_repositories,
     pickled, renamed],
    ids=lambda layout: layout.__name__,
)  # fmt: skip
def test_the_place_does_not_change_the_numbers(
    run: Run,
    hub: HubServer,
    weights: list[Files],
    expected: dict[str, list[float]],
    layout: Callable[[HubServer, list[Files]], tuple[list[object], list[str]]],
) -> None:
    Path("text.jsonl").write_text(jsonl(200))
    command, names = layout(hub, weights)
    listed = run("revisions", *command, "--json")
    assert [each["name"] for each in json.loads(listed.out)] == names, listed.err
    ran = run("scan", *command, "--dataset", "text.jsonl", *SMALL, *FIXED, "--json")
    assert ran.code == 0, ran.err
    points = ran.json["points"]
    assert [point["revision"] for point in points] == names
    assert all(point["step"] is not None for point in points)
    results = [point["llc"] for point in points]
    assert results == expected.setdefault("llc", results)
    assert len(set(results)) == 2


def test_raw_shards_are_a_row_with_their_kind(run: Run, hub: HubServer, weights: list[Files], text: Path) -> None:
    hub.add_model("org/raw", below("iter_0001000", weights[0]) | below("iter_0002000", dict(MEGATRON)))
    command = ["org/raw", "--revisions", "subfolder:iter_*"]
    ran = run("scan", *command, "--dataset", text, *SMALL, *FIXED, "--json")
    assert ran.code == 1
    assert [(p["revision"], p["step"], p["llc"] is None) for p in ran.json["points"]] == [
        ("iter_0001000", 1000, False),
        ("iter_0002000", 2000, True),
    ]
    assert "Megatron shards, which transformers cannot load" in ran.json["points"][1]["error"]
    ran = run("revisions", *command)
    assert ran.code == 0
    assert ran.err == "iter_0002000: it holds Megatron shards, which transformers cannot load; convert it to " \
        "model.safetensors beside a config.json.\n"  # fmt: skip


def test_a_repository_that_may_not_be_read_is_a_row(run: Run, hub: HubServer, weights: list[Files], text: Path) -> None:
    hub.add_model("bob/m-step1", weights[0])
    hub.add_model("bob/m-step2", weights[1]).gated = "manual"
    ran = run("scan", "bob", "--revisions", "repos:m-*", "--dataset", text, *SMALL, *FIXED, "--json")
    assert ran.code == 1
    assert [point["llc"] is None for point in ran.json["points"]] == [False, True]
    assert "bob/m-step2 is gated: ask for access at" in ran.json["points"][1]["error"]


def test_terms_choose_among_folders_and_repositories(run: Run, hub: HubServer, weights: list[Files]) -> None:
    hub.add_model(
        "org/folders", {f"step-{k}/config.json": b"{}" for k in (1, 2, 4, 8, 16)} | {"other/config.json": b""}
    )
    assert run("revisions", "org/folders", "--revisions", "subfolder:*,log:3", "-q").out == "step-1\nstep-4\nstep-16\n"
    assert run("revisions", "org/folders", "--revisions", "subfolder:*,other", "-q").out == "other\n"
    for k in (1, 2, 4):
        hub.add_model(f"org/m-step_{k}k", {"config.json": b"{}"})
    command = ["revisions", "org/m", "--revisions"]
    assert run(*command, "repos:m-step_*,2000..", "-q").out == "org/m-step_2k\norg/m-step_4k\n"
    assert run(*command, "repos:org/m-step_1k,org/m-step_4k", "-q").out == "org/m-step_1k\norg/m-step_4k\n"


def test_places_that_are_not_there_are_refused(run: Run, hub: HubServer, tmp_path: Path) -> None:
    hub.add_model("org/m", {"step-1/config.json": b"{}"})
    (tmp_path / "local/step-1").mkdir(parents=True)
    (tmp_path / "local/step-1/config.json").write_text("{}")
    for model, asked, code, arguments in (
        ("org/m", "subfolder:stage-*", 1, "no checkpoints in folders stage-.*; did you mean step-1"),
        ("org/m", "subfolder:../*", 2, "one glob of folders"),
        ("org", "repos:n-*", 1, "No visible model matches org/n-.*; did you mean org/m"),
        ("org", "repos:nothing", 1, "There is no model org/nothing"),
        ("org", "repos:a/b/c", 2, "by id or glob"),
        ("org/m", "repos:m,commits:main", 2, "only one of commits:, subfolder: and repos:"),
        (tmp_path / "local", "repos:m", 2, "is a local folder"),
        (tmp_path / "local", "subfolder:stage-*", 1, "no folder stage-"),
        ("org/m@main", "all", 2, "is one checkpoint"),
    ):
        refused(run("revisions", model, "--revisions", asked), code, arguments)


def test_folders_and_repositories_are_listed_again_offline(
    run: Run, hub: HubServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.add_model("org/a-step_1k", {"step-1/config.json": b"{}", "config.json": b"{}"})
    commands = [
        ["revisions", "org/a-step_1k", "--revisions", "subfolder:*", "--json"],
        ["revisions", "org", "--revisions", "repos:a-*", "--json"],
        ["revisions", "org", "--revisions", "repos:a-step_1k", "--json"],
    ]
    first = [run(*command).out for command in commands]
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    asked = len(hub.log)
    assert [run(*command).out for command in commands] == first
    assert len(hub.log) == asked
