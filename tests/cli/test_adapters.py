"""Adapters on the Hub, over HTTP: pinned with their bases, scanned, published, and refused in one line."""

import json
from pathlib import Path

import pytest

from tests.helpers.command_line import SMALL, Ran, Run, refused
from tests.helpers.tiny_adapters import D, edit_adapter, save_adapter
from tests.helpers.tiny_model import WEIGHTS, jsonl, read_files, save_tiny_model
from tests.hub_server.repository import Repository
from tests.hub_server.server import HubServer
from tests.report.card.test_merge import front

pytestmark = pytest.mark.usefixtures("blank_pictures")

FIXED = ["--dataset", "alice/text", *SMALL, "--gamma", 1000, "--lr", 1e-4, "--sampler", "sgld-lm", "--start", "anchor",
         "--num-processes", 1, "--json"]  # fmt: skip
Files = dict[str, bytes]


@pytest.fixture(scope="session")
def bases(tmp_path_factory: pytest.TempPathFactory) -> list[Files]:
    folder = tmp_path_factory.mktemp("bases")
    return [read_files(save_tiny_model(folder / str(seed), seed)) for seed in range(2)]


@pytest.fixture(scope="session")
def adapters(tmp_path_factory: pytest.TempPathFactory) -> list[Files]:
    folder = tmp_path_factory.mktemp("adapters")
    return [read_files(save_adapter(folder / str(seed), "org/base", seed=seed)) for seed in range(2)]


@pytest.fixture
def base(hub: HubServer, bases: list[Files]) -> Repository:
    """`org/base`, and the dataset `alice/text`."""
    hub.add_dataset("alice/text", {"train.jsonl": jsonl(200)})
    return hub.add_model("org/base", bases[0])


@pytest.fixture
def adapter(hub: HubServer, base: Repository, adapters: list[Files]) -> Repository:
    """`alice/lora`, an adapter for `org/base` with branches step500 and step1000."""
    repo = hub.add_model("alice/lora", adapters[0])
    repo.commit(adapters[0], "step500")
    repo.commit(adapters[1], "step1000")
    return repo


def changed(files: Files, **changes: object) -> Files:
    """The files of an adapter with other entries in its config."""
    config = json.loads(files["adapter_config.json"]) | changes
    return {**files, "adapter_config.json": json.dumps(config).encode()}


def estimated(run: Run, model: str, *more: object) -> Ran:
    ran = run("estimate", model, *FIXED, *more)
    assert ran.code == 0, ran.err
    return ran


def test_an_adapter_is_pinned_with_its_base(run: Run, base: Repository, adapter: Repository) -> None:
    result = estimated(run, "alice/lora").json
    assert (result["model"], result["sha"]) == ("alice/lora", adapter.at().sha)
    assert (result["base_model"], result["base_sha"]) == ("org/base", base.at().sha)
    assert result["diagnostics"]["dimension"] == D
    later = estimated(run, "alice/lora@step1000").json
    assert (later["sha"], later["step"]) == (adapter.at("step1000").sha, 1000)
    assert later["llc"] != result["llc"]


def test_a_base_that_has_moved_since_is_another_run_unless_it_is_pinned(
    run: Run, base: Repository, adapter: Repository, bases: list[Files], adapters: list[Files]
) -> None:
    before = base.at().sha
    first = estimated(run, "alice/lora").json
    base.commit({"model.safetensors": bases[1]["model.safetensors"]})
    second = estimated(run, "alice/lora").json
    assert (second["sha"], second["base_sha"]) == (first["sha"], base.at().sha)
    assert second["run_dir"] != first["run_dir"]
    assert second["init_loss"] != first["init_loss"]
    pinned = estimated(run, "alice/lora", "--base-model", f"org/base@{before}").json
    assert (pinned["run_dir"], pinned["llc"]) == (first["run_dir"], first["llc"])
    adapter.commit(changed(adapters[0], revision=before))
    by_its_config = estimated(run, "alice/lora").json
    assert (by_its_config["base_sha"], by_its_config["llc"]) == (before, first["llc"])


def test_an_adapter_in_a_folder_of_a_repository(
    run: Run, hub: HubServer, base: Repository, adapters: list[Files]
) -> None:
    files = {f"{name}/{path}": each for name, of in zip("ab", adapters, strict=True) for path, each in of.items()}
    hub.add_model("alice/two", files)
    line = refused(run("estimate", "alice/two", *FIXED), 1, "alice/two at main has no weights .* Its folders a, b have")
    assert "choose one with --subfolder" in line
    one, other = (estimated(run, "alice/two", "--subfolder", name).json for name in "ab")
    assert one["llc"] != other["llc"]
    assert (one["subfolder"], one["base_model"]) == ("a", "org/base")
    assert one["run_dir"] != other["run_dir"]


def test_a_scan_over_revisions_asks_once_for_the_base_and_resumes(
    run: Run, hub: HubServer, base: Repository, adapter: Repository, bases: list[Files]
) -> None:
    first = run("scan", "alice/lora", *FIXED)
    assert first.code == 0, first.err
    points = first.json["points"]
    assert [(point["revision"], point["estimate"]["base_sha"]) for point in points] == [
        ("step500", base.at().sha),
        ("step1000", base.at().sha),
    ]
    asked = [entry.path for entry in hub.requests("/api/models/org/base") if "/tree/" not in entry.path]
    assert len(asked) == 1
    again = run("scan", "alice/lora", *FIXED)
    assert again.json["points"] == points
    base.commit({"model.safetensors": bases[1]["model.safetensors"]})
    moved = run("scan", "alice/lora", *FIXED)
    assert moved.json["run_dir"] != first.json["run_dir"]
    assert moved.json["points"][0]["estimate"]["init_loss"] != points[0]["estimate"]["init_loss"]


def test_a_scan_over_folders_and_with_little_disk(
    run: Run, hub: HubServer, base: Repository, adapters: list[Files]
) -> None:
    files = {f"checkpoint-{k}/{path}": each for k, of in enumerate(adapters) for path, each in of.items()}
    hub.add_model("alice/run", files)
    ran = run("scan", "alice/run", "--revisions", "subfolder:checkpoint-*", *FIXED, "--max-disk", "20KB")
    assert ran.code == 0, ran.err
    assert [point["step"] for point in ran.json["points"]] == [0, 1]
    assert "--max-disk does not count org/base, which stays in the Hub's cache" in ran.err
    command = ("revisions", "alice/run", "--revisions", "subfolder:checkpoint-*", "--json")
    assert [each["weights"] for each in json.loads(run(*command).out)] == ["adapter", "adapter"]


def test_a_published_adapter_says_what_it_was_put_on(run: Run, base: Repository, adapter: Repository) -> None:
    card = b"---\nbase_model: org/base\nlibrary_name: peft\n---\n# A LoRA\n"
    adapter.commit({"README.md": card})
    result = estimated(run, "alice/lora").json
    ran = run("publish", result["run_dir"], "--yes", "--json")
    assert ran.code == 0, ran.err
    assert ran.json["repo"] == "alice/lora"
    text = adapter.at().files["README.md"].read()
    metadata = front(text)
    assert (metadata["base_model"], metadata["library_name"]) == ("org/base", "peft")
    (metric,) = metadata["model-index"][0]["results"][0]["metrics"]
    assert (metric["args"]["base_model"], metric["args"]["base_sha"]) == ("org/base", base.at().sha)
    body = text.decode()
    assert (
        f"Adapter on org/base (revision {base.at().sha[:12]}): of the two only its own weights move, d = {D}." in body
    )
    assert f"--base-model org/base@{base.at().sha}" in body


def test_a_new_card_of_an_adapter_names_its_base(run: Run, adapter: Repository) -> None:
    result = estimated(run, "alice/lora").json
    assert run("publish", result["run_dir"], "--yes").code == 0
    metadata = front(adapter.at().files["README.md"].read())
    assert (metadata["base_model"], metadata["library_name"]) == ("org/base", "peft")


def test_no_path_of_a_local_base_is_published(
    run: Run, adapter: Repository, bases: list[Files], tmp_path: Path
) -> None:
    folder = tmp_path / "secret" / "mine"
    folder.mkdir(parents=True)
    for name, content in bases[1].items():
        (folder / name).write_bytes(content)
    result = estimated(run, "alice/lora", "--base-model", folder).json
    assert result["base_model"] == str(folder)
    assert run("publish", result["run_dir"], "--yes").code == 0
    files = adapter.at().files
    for path in ("README.md", "llc/results.jsonl", "llc/settings.yaml"):
        assert b"secret" not in files[path].read()
    assert b"Adapter on mine" in files["README.md"].read()


@pytest.mark.parametrize(
    ("changes", "pattern"),
    [
        ({"base_model_name_or_path": "org/gone"}, r"alice/lora is an adapter for org/gone \(of its adapter_config"),
        (
            {"base_model_name_or_path": "/root/base"},
            r"No file or folder /root/base.* If it is elsewhere, name it with --base-model",
        ),
        (
            {"base_model_name_or_path": "../base"},
            r"No file or folder \.\./base.* If it is elsewhere, name it with --base-model",
        ),
        ({"base_model_name_or_path": "C:\\base"}, r"neither a Hub id .* If it is elsewhere, name it with --base-model"),
        ({"revision": "step7"}, r"org/base has no revision step7"),
        (
            {"base_model_name_or_path": "alice/lora"},
            "alice/lora is an adapter for alice/lora, which is itself an adapter; merge",
        ),
        ({"base_model_name_or_path": ["org/base"]}, "base_model_name_or_path in its .* must be a string, got a list"),
    ],
)
def test_a_base_that_cannot_be_had_is_named(
    run: Run, adapter: Repository, adapters: list[Files], changes: dict[str, object], pattern: str
) -> None:
    adapter.commit(changed(adapters[0], **changes))
    ran = run("estimate", "alice/lora", *FIXED)
    refused(ran, ran.code, pattern)


def test_a_gated_base_is_named(
    run: Run, hub: HubServer, adapter: Repository, adapters: list[Files], bases: list[Files]
) -> None:
    hub.add_model("bob/base", bases[0]).gated = "manual"
    adapter.commit(changed(adapters[0], base_model_name_or_path="bob/base"))
    line = refused(run("estimate", "alice/lora", *FIXED), 1, "alice/lora is an adapter for bob/base")
    assert "The model bob/base is gated: ask for access at" in line


@pytest.mark.parametrize("content", [b"{", b"[]", b"\xff"])
def test_a_damaged_config_is_refused(run: Run, adapter: Repository, content: bytes) -> None:
    adapter.commit({"adapter_config.json": content})
    refused(run("estimate", "alice/lora", *FIXED), 1, "adapter_config.json of alice/lora")


def test_a_forecast_counts_both_and_downloads_no_weights(run: Run, hub: HubServer, adapter: Repository) -> None:
    ran = run("estimate", "alice/lora", "--dataset", "alice/text", "--dry-run", "--json")
    assert ran.code == 0, ran.err
    assert (ran.json["parameters"], ran.json["moving"]) == (WEIGHTS + D, D)
    assert ran.json["download_bytes"] == ran.json["weight_bytes"] > 4 * WEIGHTS
    assert not [entry for entry in hub.requests("safetensors") if "/resolve/" in entry.path]


def test_a_table_names_the_base(run: Run, adapter: Repository) -> None:
    ran = run("estimate", "alice/lora", *[word for word in FIXED if word != "--json"], "--format", "human")
    assert ran.code == 0, ran.err
    assert "on org/base (" in ran.out
    assert f"the adapter's weights move, d = {D:,}" in ran.out


def test_a_whole_model_and_an_adapter_are_not_comparable(run: Run, adapter: Repository) -> None:
    folders = [estimated(run, name).json["run_dir"] for name in ("alice/lora", "org/base")]
    ran = run("compare", *folders)
    assert "those of the adapter for" in ran.out + ran.err
    assert "all weights for" in ran.out + ran.err


def test_an_adapter_that_is_here_needs_no_network(
    run: Run, hub: HubServer, adapter: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    result = estimated(run, "alice/lora").json
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    again = estimated(run, "alice/lora").json
    assert again["llc"] == result["llc"]


def test_a_local_adapter_whose_base_is_on_the_hub(run: Run, base: Repository, adapters: list[Files]) -> None:
    folder = Path("checkpoint-7")
    folder.mkdir()
    for name, content in adapters[0].items():
        (folder / name).write_bytes(content)
    edit_adapter(folder, revision="main")
    result = estimated(run, "checkpoint-7").json
    assert (result["step"], result["base_model"], result["base_sha"]) == (7, "org/base", base.at().sha)
