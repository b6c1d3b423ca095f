"""What a user types for a model or a dataset."""

from pathlib import Path

import pytest

from hf_llc.errors import NotFoundError, SettingsError, did_you_mean
from hf_llc.hub.reference import Reference, parse_dataset, parse_model, training_step

SHA = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture(autouse=True)
def empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory: with nothing in it no id is a path."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("text", "id_", "revision", "file"),
    [
        ("gpt2", "gpt2", None, None),
        ("org/name", "org/name", None, None),
        (" org/name ", "org/name", None, None),
        ("org/name@step512", "org/name", "step512", None),
        ("gpt2@main", "gpt2", "main", None),
        ("org/name@refs/pr/3", "org/name", "refs/pr/3", None),
        (f"org/name@{SHA}", "org/name", SHA, None),
        ("hf://org/name", "org/name", None, None),
        ("hf://org/name@step512", "org/name", "step512", None),
        ("hf://models/org/name@step512", "org/name", "step512", None),
        ("hf://org/name@refs/pr/3", "org/name", "refs/pr/3", None),
        ("hf://org/name@a%2Fb", "org/name", "a/b", None),
        ("hf://org/name@main/q4.gguf", "org/name", "main", "q4.gguf"),
        ("hf://org/name/q4.gguf", "org/name", None, "q4.gguf"),
        ("https://huggingface.co/org/name", "org/name", None, None),
        ("https://huggingface.co/gpt2", "gpt2", None, None),
        ("https://huggingface.co/gpt2/tree/main", "gpt2", "main", None),
        ("https://huggingface.co/org/name/tree/step512", "org/name", "step512", None),
        ("https://huggingface.co/org/name/tree/refs%2Fpr%2F1", "org/name", "refs/pr/1", None),
        (f"https://huggingface.co/org/name/commit/{SHA}", "org/name", SHA, None),
        ("https://huggingface.co/org/name/blob/main/q4.gguf", "org/name", "main", "q4.gguf"),
        ("https://huggingface.co/org/name/resolve/main/q4.gguf?download=true", "org/name", "main", "q4.gguf"),
        ("https://hf.co/org/name", "org/name", None, None),
        ("huggingface.co/org/name", "org/name", None, None),
        ("http://localhost:8080/hf/org/name/tree/x", "org/name", "x", None),
    ],
)
def test_spellings_of_a_hub_model(text: str, id_: str, revision: str | None, file: str | None) -> None:
    result = parse_model(text, endpoint="http://localhost:8080/hf")
    assert (result.kind, result.id, result.revision, result.file, result.path) == ("hub", id_, revision, file, None)


@pytest.mark.parametrize(
    ("text", "id_", "revision"),
    [
        ("NeelNanda/pile-10k", "NeelNanda/pile-10k", None),
        ("org/data@v1", "org/data", "v1"),
        ("hf://datasets/org/data@v1", "org/data", "v1"),
        ("https://huggingface.co/datasets/org/data/tree/v1", "org/data", "v1"),
        ("https://huggingface.co/datasets/org/data", "org/data", None),
    ],
)
def test_spellings_of_a_hub_dataset(text: str, id_: str, revision: str | None) -> None:
    result = parse_dataset(text)
    assert (result.kind, result.id, result.revision) == ("hub", id_, revision)


def test_a_revision_beside_the_id_and_the_same_in_it_agree() -> None:
    assert parse_model("org/name@step1", "step1").revision == "step1"
    assert parse_model("org/name", "step1").revision == "step1"


def test_two_different_revisions_are_refused() -> None:
    with pytest.raises(SettingsError, match="has revision step1, but --revision is step2"):
        parse_model("org/name@step1", "step2")
    with pytest.raises(SettingsError, match="--dataset-revision is v2"):
        parse_dataset("hf://datasets/org/name@v1", "v2")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "has no name"),
        ("https://example.org/org/name", "not on the Hub"),
        ("hf://datasets/org/data", "is a dataset, where a model is needed"),
        ("https://huggingface.co/spaces/org/app", "is a space, where a model is needed"),
        ("hf://", "names no model"),
        ("org/na me", "neither a Hub id"),
        ("org--x/name", "neither a Hub id"),
        ("https://huggingface.co/org/name/tree/main/step-100", "points inside org/name"),
    ],
)
def test_what_is_no_model_is_refused(text: str, message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        parse_model(text)


def test_a_dataset_address_of_a_model_page_is_refused() -> None:
    with pytest.raises(SettingsError, match="is a model, where a dataset is needed"):
        parse_dataset("https://huggingface.co/org/name")


def test_a_local_folder_wins_over_a_hub_id(empty_folder: Path) -> None:
    (empty_folder / "org" / "name").mkdir(parents=True)
    result = parse_model("org/name")
    assert (result.kind, result.id, result.path) == ("local", "org/name", Path("org/name"))


@pytest.mark.parametrize("name", ["[v2]", "run[1]/base", "[::1]", "a]b", "[v2]/a[b]/c?*", "x@y/[z]", "~[a]"])
def test_a_path_may_hold_brackets(empty_folder: Path, name: str) -> None:
    (empty_folder / name).mkdir(parents=True)
    for text in (name, f"./{name}"):
        for parse in (parse_model, parse_dataset):
            assert parse(text).path == Path(text)


@pytest.mark.parametrize(
    "text",
    ["[v2]/a", "run[1]", "https://[v2]/a", "http://[::1", "hf.co[1]/a/b", "~nobody-here/x", "a\0b", "./" + "x" * 5000],
)
def test_what_is_neither_an_address_nor_there_is_refused(text: str) -> None:
    for parse in (parse_model, parse_dataset):
        with pytest.raises((SettingsError, NotFoundError)):
            parse(text)


def test_a_local_gguf_file_is_a_folder_and_a_file(empty_folder: Path) -> None:
    file = empty_folder / "a@b.gguf"
    file.touch()
    result = parse_model(str(file))
    assert (result.kind, result.id, result.path, result.file) == ("local", str(file), empty_folder, "a@b.gguf")


def test_the_home_folder_may_be_written_as_tilde(empty_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(empty_folder))
    (empty_folder / "model").mkdir()
    assert parse_model("~/model").path == empty_folder / "model"


def test_a_local_file_that_is_no_gguf_is_refused_as_a_model(empty_folder: Path) -> None:
    (empty_folder / "model.safetensors").touch()
    with pytest.raises(SettingsError, match="is a file; name the folder"):
        parse_model("model.safetensors")


def test_a_local_model_with_a_revision_is_refused(empty_folder: Path) -> None:
    (empty_folder / "model").mkdir()
    with pytest.raises(SettingsError, match="has no revisions; leave out --revision"):
        parse_model("model", "step1")


@pytest.mark.parametrize(
    "text", ["./chekpoint-1", "runs/model/checkpoint-1", "~/nothing-there", "/nothing/there", "a.gguf"]
)
def test_a_path_with_nothing_there_is_not_taken_for_a_hub_id(text: str) -> None:
    with pytest.raises(NotFoundError, match="No file or folder"):
        parse_model(text)


def test_a_mistyped_path_names_its_near_matches(empty_folder: Path) -> None:
    (empty_folder / "runs" / "checkpoint-400").mkdir(parents=True)
    with pytest.raises(NotFoundError, match="in runs; did you mean checkpoint-400"):
        parse_model("./runs/chekpoint-400")
    with pytest.raises(NotFoundError, match="in runs; did you mean checkpoint-400"):
        parse_dataset("./runs/chekpoint-400/train.jsonl")


@pytest.mark.parametrize(
    ("name", "step"),
    [
        ("step512", 512),
        ("step0", 0),
        ("checkpoint-400", 400),
        ("global_step1000", 1000),
        ("step-240000", 240000),
        ("stage1-step1000-tokens5B", 1000),
        ("stage2-ingredient1-step11931-tokens50B", 11931),
        ("stage1-step-40000", 40000),
        ("step-001000-2BT", 1000),
        ("step0005000", 5000),
        ("iter_0002384", 2384),
        ("ckpt_007", 7),
        ("CrystalCoder_phase1_checkpoint_055500", 55500),
        ("seed_0-step_20k", 20000),
        ("TinyLlama-1.1B-intermediate-step-50K-105b", 50000),
        ("refs/pr/3", None),
        ("main", None),
        ("timestep5", None),
        ("step1000B", None),
        ("kestrel", None),
        (SHA, None),
    ],
)
def test_training_step(name: str, step: int | None) -> None:
    assert training_step(name) == step


def test_nearest_names_close_ones_first_and_otherwise_some() -> None:
    assert did_you_mean("tran", ["test", "train"]) == "; did you mean train?"
    assert did_you_mean("zzz", ["a", "b", "c", "d"]) == "; there is a, b, c, …."
    assert did_you_mean("zzz", []) == "."


@pytest.mark.parametrize("text", ["hf://models/me/x", "hf://models/me/x@main", "hf://spaces/me/x"])
def test_what_is_said_to_be_something_else_is_no_dataset(text: str) -> None:
    with pytest.raises(SettingsError, match=r"is a (model|space), where a dataset is needed"):
        parse_dataset(text)


def test_uris_without_a_type_or_of_the_right_one_are_datasets_and_models() -> None:
    assert parse_dataset("hf://datasets/me/x@v1") == Reference(kind="hub", id="me/x", revision="v1")
    assert parse_dataset("hf://me/x").id == "me/x"
    assert parse_model("hf://me/x").id == parse_model("hf://models/me/x").id == "me/x"
    with pytest.raises(SettingsError, match="is a dataset, where a model is needed"):
        parse_model("hf://datasets/me/x")


@pytest.mark.parametrize("name", ["[v2]/text.jsonl", "[v2", "v2]", "[::1]/a", "a[1]/b"])
def test_brackets_in_a_path_are_no_web_address(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises((NotFoundError, SettingsError)):
        parse_dataset(name)
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text("a")
    assert parse_dataset(name).path == parse_dataset(f"./{name}").path == Path(name)
