"""`hf-llc estimate` over HTTP: every spelling of a model and a dataset, pinned to commits, and offline afterwards."""

import io
import json
from pathlib import Path

import pytest
from datasets.arrow_dataset import Dataset

from tests.helpers.command_line import SMALL, Ran, Run
from tests.helpers.tiny_model import WEIGHTS, read_files, save_tiny_model, sentences
from tests.hub_server.repository import Repository
from tests.hub_server.server import HubServer

pytestmark = pytest.mark.usefixtures("blank_pictures")

LINES = sentences(200)
JSONL = "".join(json.dumps({"text": line, "body": line[::-1]}) + "\n" for line in LINES)


def parquet(lines: list[str]) -> bytes:
    """A parquet file with the lines in its column `text`."""
    buffer = io.BytesIO()
    Dataset.from_dict({"text": lines}).to_parquet(buffer)
    return buffer.getvalue()


@pytest.fixture(scope="session")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, bytes]]:
    """The files of two different checkpoints by name of their branch."""
    folder = tmp_path_factory.mktemp("checkpoints")
    return {name: read_files(save_tiny_model(folder / name, seed)) for name, seed in (("main", 0), ("step512", 1))}


@pytest.fixture
def model(hub: HubServer, checkpoints: dict[str, dict[str, bytes]]) -> Repository:
    """`org/tiny` with the branches main and step512, and the dataset `org/text`."""
    repo = hub.add_model("org/tiny", checkpoints["main"])
    repo.commit(checkpoints["step512"], "step512")
    hub.add_dataset("org/text", {"train.jsonl": JSONL})
    return repo


def estimated(run: Run, model: str, *more: object, dataset: str = "org/text") -> Ran:
    """A small estimate as JSON, which has to succeed."""
    ran = run("estimate", model, "--dataset", dataset, *SMALL, "--json", *more)
    assert ran.code == 0, ran.err
    return ran


def draws(ran: Ran) -> list[list[float]]:
    """The paired differences of every chain."""
    files = sorted((Path(ran.json["run_dir"]) / "chains").iterdir())
    return [json.loads(file.read_bytes())["payload"]["deltas"] for file in files]


def test_a_model_by_its_id_is_pinned_to_its_commit(run: Run, hub: HubServer, model: Repository) -> None:
    result = estimated(run, "org/tiny").json
    assert (result["model"], result["revision"], result["step"]) == ("org/tiny", "main", None)
    assert result["sha"] == model.at().sha
    text = hub.find("dataset", "org/text")
    assert text is not None
    assert (result["dataset"]["id"], result["dataset"]["revision"]) == ("org/text", text.at().sha)
    assert (result["dataset"]["split"], result["dataset"]["text_column"]) == ("train", "text")
    assert f"org__tiny/{result['sha'][:12]}/" in result["run_dir"]


def test_every_spelling_of_a_revision_is_the_same_run(run: Run, hub: HubServer, model: Repository) -> None:
    sha = model.at("step512").sha
    model.tag("v1", "step512")
    first = estimated(run, "org/tiny@step512").json
    assert (first["sha"], first["revision"], first["step"]) == (sha, "step512", 512)
    spellings = [
        ("org/tiny", "--revision", "step512"),
        ("org/tiny@v1",),
        (f"org/tiny@{sha[:8]}",),
        (f"org/tiny@{sha}",),
        ("hf://org/tiny@step512",),
        ("hf://models/org/tiny@step512",),
        (f"{hub.url}/org/tiny/tree/step512",),
    ]
    for spelling in spellings:
        result = estimated(run, *spelling).json
        assert result["model"] == "org/tiny"
        assert [result[name] for name in ("sha", "llc", "run_dir")] == [
            first[name] for name in ("sha", "llc", "run_dir")
        ]
    other = estimated(run, "org/tiny").json
    assert other["sha"] != sha
    assert other["llc"] != first["llc"]


def test_equal_weights_under_another_commit_give_equal_draws(run: Run, model: Repository) -> None:
    first = estimated(run, "org/tiny")
    model.commit({"README.md": "# more words"})
    second = estimated(run, "org/tiny")
    assert first.json["sha"] != second.json["sha"]
    assert first.json["run_dir"] != second.json["run_dir"]
    assert draws(first) == draws(second)


def test_a_local_copy_gives_the_numbers_of_the_hub(
    run: Run, model: Repository, checkpoints: dict[str, dict[str, bytes]], tmp_path: Path
) -> None:
    folder, text = tmp_path / "copy", tmp_path / "train.jsonl"
    folder.mkdir()
    for name, content in checkpoints["main"].items():
        (folder / name).write_bytes(content)
    text.write_text(JSONL)
    hub_run = estimated(run, "org/tiny")
    local = estimated(run, str(folder), dataset=str(text))
    assert local.json["dataset"]["fingerprint"] == hub_run.json["dataset"]["fingerprint"]
    assert draws(local) == draws(hub_run)
    assert local.json["llc"] == hub_run.json["llc"]


def test_the_same_command_again_downloads_nothing(run: Run, hub: HubServer, model: Repository) -> None:
    first = estimated(run, "org/tiny").json
    hub.log.clear()
    second = estimated(run, "org/tiny").json
    assert hub.requests("/resolve/") == []
    assert {**second, "seconds": 0} == {**first, "seconds": 0}
    fresh = estimated(run, "org/tiny", "--seed", 1).json
    assert hub.requests("/resolve/") == []
    assert fresh["llc"] != first["llc"]


@pytest.mark.parametrize("cut", ["closed", "forbidden"])
def test_after_one_run_the_same_number_comes_offline(
    run: Run, hub: HubServer, model: Repository, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, cut: str
) -> None:
    online = estimated(run, "org/tiny@step512")
    if cut == "closed":
        hub.close()
    else:
        hub.log.clear()
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    offline = estimated(run, "org/tiny@step512", "--output-dir", tmp_path / "again")
    assert draws(offline) == draws(online)
    assert offline.json["llc"] == online.json["llc"]
    assert ("as last seen" in offline.err) == (cut == "closed")
    if cut == "forbidden":
        assert hub.requests() == []


def test_a_parquet_dataset_with_splits(run: Run, hub: HubServer, model: Repository) -> None:
    files = {f"data/{split}-00000-of-00001.parquet": parquet(part) for split, part in (
        ("train", LINES), ("validation", LINES[100:]))}  # fmt: skip
    hub.add_dataset("org/parquet", files)
    train = estimated(run, "org/tiny", dataset="org/parquet").json
    assert train["llc"] == estimated(run, "org/tiny").json["llc"]
    other = estimated(run, "org/tiny", "--split", "validation", dataset="hf://datasets/org/parquet").json
    assert (other["dataset"]["id"], other["dataset"]["split"]) == ("org/parquet", "validation")
    assert other["settings"]["n"] < train["settings"]["n"]


def test_a_text_column_and_a_revision_of_the_dataset(run: Run, hub: HubServer, model: Repository) -> None:
    repo = hub.find("dataset", "org/text")
    assert repo is not None
    old = repo.tag("v1")
    repo.commit({"train.jsonl": JSONL * 2})
    body = estimated(run, "org/tiny", "--text-column", "body", "--dataset-revision", "v1").json
    assert (body["dataset"]["text_column"], body["dataset"]["revision"]) == ("body", old)
    assert body["dataset"]["fingerprint"] != estimated(run, "org/tiny", "--dataset-revision", "v1").json["dataset"][
        "fingerprint"]  # fmt: skip
    assert estimated(run, "org/tiny", "--text-column", "body").json["settings"]["n"] > body["settings"]["n"]


def test_a_config_of_the_dataset(run: Run, hub: HubServer, model: Repository) -> None:
    card = "---\nconfigs:\n- config_name: a\n  data_files: a.jsonl\n- config_name: b\n  data_files: b.jsonl\n---\n"
    hub.add_dataset("org/configs", {"README.md": card, "a.jsonl": JSONL, "b.jsonl": JSONL * 2})
    a, b = (estimated(run, "org/tiny", "--dataset-config", name, dataset="org/configs").json for name in "ab")
    assert (a["dataset"]["config"], b["dataset"]["config"]) == ("a", "b")
    assert 2 * a["settings"]["n"] <= b["settings"]["n"] <= 2 * a["settings"]["n"] + 1


def test_a_limit_of_sequences_is_the_first_of_all(run: Run, model: Repository) -> None:
    result = estimated(run, "org/tiny", "--max-sequences", 20, "--context-length", 32).json
    assert (result["settings"]["n"], result["settings"]["context_length"]) == (20, 32)


def test_a_dry_run_downloads_no_weights_and_samples_nothing(
    run: Run, hub: HubServer, model: Repository, checkpoints: dict[str, dict[str, bytes]], tmp_path: Path
) -> None:
    size = len(checkpoints["main"]["model.safetensors"])
    ran = run("estimate", "org/tiny", "--dataset", "org/text", *SMALL, "--dry-run", "--json")
    assert ran.code == 0
    assert (ran.json["weight_bytes"], ran.json["download_bytes"]) == (size, size)
    assert (ran.json["sha"], ran.json["parameters"]) == (model.at().sha, WEIGHTS)
    assert hub.requests("config.json")
    assert hub.requests(".safetensors") == []
    assert hub.requests("datasets/") == []
    assert not (tmp_path / "work" / "hf-llc-runs").exists()
    estimated(run, "org/tiny")
    assert hub.requests(".safetensors")
    again = run("estimate", "org/tiny", "--dry-run", "--json")
    assert (again.json["weight_bytes"], again.json["download_bytes"]) == (size, 0)


def test_a_private_repository_of_the_users_own_is_read(run: Run, hub: HubServer, model: Repository) -> None:
    model.private = True
    assert estimated(run, "org/tiny").json["sha"] == model.at().sha


def test_a_server_that_stumbles_is_waited_for(
    run: Run, hub: HubServer, model: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    quiet = estimated(run, "org/tiny").json
    monkeypatch.setattr("hf_llc.hub.errors.time.sleep", lambda seconds: None)
    model.commit({"README.md": "# another commit, so that all is asked again"})
    hub.faults.add("/api/models/org/tiny", "error", status=503)
    hub.faults.add("/api/models/org/tiny", "retry-after", seconds=1)
    ran = estimated(run, "org/tiny")
    assert ran.json["llc"] == quiet["llc"]
    assert "503; trying again" in ran.err
    assert "limits requests (429); trying again" in ran.err
