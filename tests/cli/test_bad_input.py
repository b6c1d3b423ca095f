"""Models and texts that cannot be had or used: one line that says what is wrong and what to do, exit code 1 or 2."""

import json
from pathlib import Path

import pytest

from tests.helpers.command_line import SMALL, Run, refused
from tests.helpers.tiny_model import read_files, save_tiny_model
from tests.hub_server.server import HubServer


@pytest.fixture
def served(hub: HubServer, tiny: Path, text: Path) -> HubServer:
    """A Hub with `org/tiny` and `org/text`."""
    repo = hub.add_model("org/tiny", read_files(tiny))
    repo.branch("step512")
    repo.branch("step1000")
    hub.add_dataset("org/text", {"train.jsonl": text.read_bytes()})
    return hub


def test_no_such_model(run: Run, served: HubServer) -> None:
    refused(run("estimate", "org/nothing"), 1, r"no model org/nothing at http.*private.*hf auth login")


def test_a_word_that_is_neither_folder_nor_id(run: Run, served: HubServer) -> None:
    refused(run("estimate", "a/b/c/d"), 1, "No file or folder a/b/c/d")
    refused(run("estimate", "two words"), 2, "two words.* is neither a Hub id such as org/name nor a path")
    refused(run("estimate", "./nothing"), 1, r"\./nothing")


def test_a_gated_model_names_the_page_to_ask_at(run: Run, served: HubServer) -> None:
    served.add_model("bob/gated", {"config.json": "{}", "model.safetensors": b"x"}).gated = "manual"
    line = refused(run("estimate", "bob/gated"), 1, "bob/gated is gated.*hf auth login")
    assert f"{served.url}/bob/gated" in line


def test_a_private_model_of_others(run: Run, served: HubServer) -> None:
    served.add_model("bob/private", {"config.json": "{}"}).private = True
    refused(run("estimate", "bob/private"), 1, "no model bob/private.*or it is private.*hf auth login")


def test_an_unknown_revision_names_near_ones(run: Run, served: HubServer) -> None:
    refused(run("estimate", "org/tiny@step513"), 1, "no revision step513; did you mean step512")


def test_two_revisions_at_once(run: Run, served: HubServer) -> None:
    refused(run("estimate", "org/tiny@step512", "--revision", "step1000"), 2, "step512.*step1000")


def test_no_such_dataset(run: Run, served: HubServer) -> None:
    refused(run("estimate", "org/tiny", "--dataset", "org/nothing"), 1, "no dataset org/nothing at .*private")


def test_a_gated_dataset_names_the_page_to_ask_at(run: Run, served: HubServer) -> None:
    served.add_dataset("bob/gated", {"train.jsonl": '{"text": "a"}\n'}).gated = "auto"
    line = refused(run("estimate", "org/tiny", "--dataset", "bob/gated"), 1, "bob/gated is gated")
    assert f"{served.url}/datasets/bob/gated" in line


@pytest.mark.parametrize(
    ("options", "pattern"),
    [
        (["--split", "tset"], "no split tset.*train.*--split"),
        (["--text-column", "txt"], "no column txt.*text.*--text-column"),
        (["--dataset-config", "large"], "no config large.*--dataset-config"),
        (["--dataset-revision", "v9"], "no revision v9.*--dataset-revision"),
    ],
)
def test_an_unknown_part_of_a_dataset_names_what_there_is(
    run: Run, served: HubServer, options: list[str], pattern: str
) -> None:
    refused(run("estimate", "org/tiny", "--dataset", "org/text", *options), 1, pattern)


def test_a_column_that_holds_no_text(run: Run, tiny: Path, tmp_path: Path) -> None:
    path = tmp_path / "numbers.jsonl"
    path.write_text("".join(json.dumps({"text": "a b c", "count": n}) + "\n" for n in range(9)))
    command = ["estimate", tiny, "--dataset", path]
    refused(run(*command, "--text-column", "count"), 1, "Column count of .* does not hold strings.*text")
    path.write_text('{"count": 1}\n')
    refused(run(*command), 1, "no column of strings.*count")


def test_too_little_text(run: Run, tiny: Path, tmp_path: Path) -> None:
    path = tmp_path / "short.txt"
    path.write_text("too short")
    refused(run("estimate", tiny, "--dataset", path), 1, r"tokens, which fill 0 sequences of 64.*more text")
    path.write_text("")
    refused(run("estimate", tiny, "--dataset", path), 1, "more text")


def test_a_text_that_is_not_there_or_of_no_known_kind(run: Run, tiny: Path, tmp_path: Path) -> None:
    refused(run("estimate", tiny, "--dataset", "./missing.jsonl"), 1, r"missing\.jsonl")
    (tmp_path / "work" / "text.docx").write_text("x")
    refused(run("estimate", tiny, "--dataset", "./text.docx"), 2, r"text\.docx.*\.jsonl.*\.parquet")
    (tmp_path / "work" / "bad.jsonl").write_text('{"text": "a"}\n{"text": \n')
    refused(run("estimate", tiny, "--dataset", "./bad.jsonl"), 1, r"Line 2 of bad\.jsonl is not JSON")


def test_offline_and_not_on_this_machine(run: Run, text: Path) -> None:
    pattern = "HF_HUB_OFFLINE is set, and the model org/tiny is not in the cache; try again with a network"
    refused(run("estimate", "org/tiny", "--dataset", text), 1, pattern)


def test_a_hub_that_does_not_answer(run: Run, served: HubServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hf_llc.hub.errors.time.sleep", lambda seconds: None)
    served.close()
    refused(run("estimate", "org/tiny"), 1, "cannot be reached.*model org/tiny is not in the cache; try again")


def test_a_hub_that_only_fails(run: Run, served: HubServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hf_llc.hub.errors.time.sleep", lambda seconds: None)
    served.faults.add("/api/models/org/tiny", "error", status=500, times=None)
    refused(run("estimate", "org/tiny"), 1, "answered 500 when asked for the model org/tiny; try again later")


def test_a_download_that_breaks_off_once_is_tried_again(
    run: Run, served: HubServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hf_llc.hub.errors.time.sleep", lambda seconds: None)
    fault = served.faults.add("model.safetensors", "truncate", method="GET")
    ran = run("estimate", "org/tiny", "--dataset", "org/text", *SMALL, "--json")
    assert fault.hits == 1
    assert ran.code == 0
    assert ran.json["llc"] is not None


def test_a_download_that_always_breaks_off(run: Run, served: HubServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hf_llc.hub.errors.time.sleep", lambda seconds: None)
    served.faults.add("model.safetensors", "truncate", method="GET", times=None)
    refused(run("estimate", "org/tiny", "--dataset", "org/text", *SMALL), 1, "org/tiny.*try again")


def test_a_model_that_is_no_causal_language_model(run: Run, tmp_path: Path, text: Path) -> None:
    folder = save_tiny_model(tmp_path / "t5")
    (folder / "config.json").write_text('{"model_type": "t5", "architectures": ["T5ForConditionalGeneration"]}')
    refused(run("estimate", folder, "--dataset", text, *SMALL), 1, "is an encoder-decoder; only decoder-only")
    (folder / "config.json").write_text('{"model_type": "vit", "architectures": ["ViTModel"]}')
    refused(run("estimate", folder, "--dataset", text, *SMALL), 1, "is not a causal language model")


def test_a_model_without_a_tokenizer(run: Run, tmp_path: Path, text: Path) -> None:
    folder = save_tiny_model(tmp_path / "bare", tokenizer=False)
    refused(run("estimate", folder, "--dataset", text, *SMALL), 1, "tokenizer")


def test_a_model_without_weights(run: Run, tmp_path: Path, text: Path) -> None:
    folder = save_tiny_model(tmp_path / "hollow")
    (folder / "model.safetensors").unlink()
    refused(run("estimate", folder, "--dataset", text), 1, "weights|safetensors")
    (folder / "config.json").unlink()
    refused(run("estimate", folder, "--dataset", text), 1, r"config\.json|no model|weights")


def test_half_written_weights(run: Run, tmp_path: Path, text: Path) -> None:
    folder = save_tiny_model(tmp_path / "torn")
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:5000])
    refused(
        run("estimate", folder, "--dataset", text, *SMALL),
        1,
        r"torn/model\.safetensors is damaged.*download the model again",
    )


def test_broken_weights_never_give_a_number(run: Run, tmp_path: Path, text: Path) -> None:
    folder = save_tiny_model(tmp_path / "nan")
    weights = folder / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-4000:] = b"\xff" * 4000
    weights.write_bytes(content)
    refused(
        run("estimate", folder, "--dataset", text, *SMALL, "--json"),
        1,
        "/nan gives logits that are not finite; its weights hold inf or NaN",
    )
