"""Bad input: one line that says what is wrong and what to do, the right exit code, nothing on stdout, nothing lost."""

import errno
import json
import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from hf_llc.core.language import LanguageObjective
from hf_llc.errors import SettingsError
from tests.cli.ran import SMALL, Ran, Run, files_of
from tests.hub.server import HubServer
from tests.tiny import read_files, save_tiny_model


def refused(ran: Ran, code: int, pattern: str) -> str:
    """The one line of a failed command; fails if there is more, or less, or other."""
    assert ran.out == ""
    assert len(ran.complaints) == 1, ran.err
    assert ran.code == code, ran.err
    line = ran.complaints[0]
    assert line.startswith("Error: ")
    assert re.search(pattern, line), line
    assert len(line) < 500
    return line


@pytest.fixture
def served(hub: HubServer, tiny: Path, text: Path) -> HubServer:
    """A Hub with `org/tiny` and `org/text`."""
    repo = hub.add_model("org/tiny", read_files(tiny))
    repo.branch("step512")
    repo.branch("step1000")
    hub.add_dataset("org/text", {"train.jsonl": text.read_bytes()})
    return hub


@pytest.fixture
def small(run: Run, tiny: Path, text: Path) -> Run:
    """`run` of a small estimate with further options."""
    return lambda *more: run("estimate", tiny, "--dataset", text, *SMALL, *more)


SETTINGS = [
    (["--gamma", "-1"], "--gamma is -1.*0 or more"),
    (["--gamma", "nan"], "--gamma is nan.*finite"),
    (["--n-beta", "-5"], "--n-beta is -5.*0 or more"),
    (["--lr", "0"], "--lr is 0.*above 0"),
    (["--lr", "inf"], "--lr is inf.*finite"),
    (["--draws", "0"], "--draws is 0.*at least 4"),
    (["--chains", "0"], "--chains is 0.*at least 2"),
    (["--chains", "1"], "--chains is 1.*at least 2: one chain cannot show"),
    (["--burn-in", "-1"], "--burn-in is -1.*0 or more"),
    (["--thin", "0"], "--thin is 0.*1 or more"),
    (["--batch-size", "0"], "--batch-size is 0.*1 or more"),
    (["--seed", "-1"], "--seed is -1.*0 or more"),
    (["--threads", "0"], "--threads is 0.*1 or more"),
    (["--max-sequences", "-1"], "max.sequences is -1"),
    (["--context-length", "1"], "context.length is 1.*at least 2"),
    (["--context-length", "100000"], "--context-length is 100000.*64 tokens only"),
    (["--batch-size", "5000"], r"--batch-size is 5000, but .* packs into 83 sequences of 64 tokens\. Lower"),
    (["--lr", "0.1", "--gamma", "100"], "past the stability limit 4 of the localisation alone. Use --lr below 0.04"),
    (["--lr", "1", "--gamma", "1"], "past the stability limit: .*measured curvature.* Use --lr below"),
    (["--lr", "1"], "past the stability limit: .* or leave it out"),
    (["--sampler", "sgdl"], "sgdl.*sgld"),
    (["--json", "-q"], "only one of --format, --json and --quiet"),
    (["--format", "agent", "--json"], "only one of --format, --json and --quiet"),
    (["--format", "yaml"], "no --format yaml; choose one of human, agent, json, quiet"),
    (["--num-processes", "0"], "'--num-processes'.*hf-llc estimate --help"),
    (["--draws", "many"], "'--draws'.*integer.*hf-llc estimate --help"),
    (["--drawz", "4"], "No such option.*--drawz.*hf-llc estimate --help"),
    (["surplus"], "surplus.*hf-llc estimate --help"),
]


@pytest.mark.parametrize(("options", "pattern"), SETTINGS, ids=[" ".join(options) for options, _ in SETTINGS])
def test_impossible_settings(small: Run, tmp_path: Path, options: list[str], pattern: str) -> None:
    refused(small(*options), 2, pattern)
    assert not list((tmp_path / "work").rglob("chains"))


def test_wrong_commands(run: Run) -> None:
    refused(run("estimate"), 2, "Missing argument.*hf-llc estimate --help")
    refused(run("estimat", "x"), 2, "No such command 'estimat'.*'estimate'")
    assert run("estimate", "--help").code == 0
    assert run("--version").out.count("\n") == 1


def test_no_such_model(run: Run, served: HubServer) -> None:
    refused(run("estimate", "org/nothing"), 1, r"no model org/nothing at http.*private.*hf auth login")


def test_a_word_that_is_neither_folder_nor_id(run: Run, served: HubServer) -> None:
    refused(run("estimate", "a/b/c/d"), 1, "no a/b/c/d")
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
    refused(run("estimate", tiny, "--dataset", "./bad.jsonl"), 1, r"bad\.jsonl cannot be read")


def test_offline_and_not_on_this_machine(run: Run, text: Path) -> None:
    pattern = "HF_HUB_OFFLINE is set, and what is asked of the model org/tiny is not here yet; try again with a network"
    refused(run("estimate", "org/tiny", "--dataset", text), 1, pattern)


def test_a_hub_that_does_not_answer(run: Run, served: HubServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hf_llc.adapters.hub_errors.time.sleep", lambda seconds: None)
    served.close()
    refused(run("estimate", "org/tiny"), 1, "cannot be reached.*model org/tiny is not here yet; try again")


def test_a_hub_that_only_fails(run: Run, served: HubServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hf_llc.adapters.hub_errors.time.sleep", lambda seconds: None)
    served.faults.add("/api/models/org/tiny", "error", status=500, times=None)
    refused(run("estimate", "org/tiny"), 1, "answered 500 when asked for the model org/tiny; try again later")


def test_a_download_that_breaks_off_once_is_tried_again(
    run: Run, served: HubServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hf_llc.adapters.hub_errors.time.sleep", lambda seconds: None)
    fault = served.faults.add("model.safetensors", "truncate", method="GET")
    ran = run("estimate", "org/tiny", "--dataset", "org/text", *SMALL, "--json")
    assert fault.hits == 1
    assert ran.code == 0
    assert ran.json["llc"] is not None


def test_a_download_that_always_breaks_off(run: Run, served: HubServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hf_llc.adapters.hub_errors.time.sleep", lambda seconds: None)
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
        r"torn/model\.safetensors is damaged.*get the model again",
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


def test_a_folder_of_another_run_is_refused_and_left_alone(small: Run, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    assert small("--output-dir", folder).code == 0
    before = files_of(folder)
    line = refused(small("--output-dir", folder, "--seed", 1), 1, r"other inputs \(sampler\.seed: there 0, here 1\)")
    assert "--output-dir" in line
    assert files_of(folder) == before


def test_a_file_where_the_folder_should_be(small: Run, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    refused(small("--output-dir", tmp_path / "file" / "run"), 1, r"A file stands where.*/file.*--output-dir")
    refused(small("--output-dir", tmp_path / "file"), 1, r"A file stands where.*/file.*--output-dir")
    assert (tmp_path / "file").read_text() == "mine"


def failing(number: int) -> Callable[..., None]:
    """A call of the system that always gives this error."""

    def fail(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number), "some/file")

    return fail


@pytest.mark.parametrize(
    ("number", "pattern"),
    [
        (errno.EACCES, r"No permission to write \(some/file\)\. Give another folder with --output-dir"),
        (errno.EROFS, r"No permission to write \(some/file\)\. Give another folder with --output-dir"),
        (errno.ENOSPC, r"The disk is full \(some/file\)\. Make room and run the same command"),
        (errno.EIO, r"Input/output error \(some/file\)"),
    ],
)
def test_a_disk_that_refuses(small: Run, monkeypatch: pytest.MonkeyPatch, number: int, pattern: str) -> None:
    first = small("--json").json
    with monkeypatch.context() as patch:
        patch.setattr("hf_llc.adapters.store.tempfile.mkstemp", failing(number))
        refused(small("--seed", 1), 1, pattern)
    assert small("--json").json["llc"] == first["llc"]


def test_a_disk_that_fills_up_keeps_finished_chains(small: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = small("--json", "--output-dir", "whole").json
    with monkeypatch.context() as patch:
        real = os.fsync
        patch.setattr(os, "fsync", lambda handle: failing(errno.ENOSPC)() if Path("part/chains").exists() and list(
            Path("part/chains").glob("000.json")) else real(handle))  # fmt: skip
        refused(small("--json", "--output-dir", "part"), 1, "The disk is full")
    kept = files_of(Path("part"))
    assert "chains/000.json" in kept
    assert "chains/001.json" not in kept
    assert not list(Path("part").rglob("*.tmp"))
    assert small("--json", "--output-dir", "part").json["llc"] == whole["llc"]
    assert {name: stat for name, stat in files_of(Path("part")).items() if name in kept} == kept


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 1.00 GiB."),
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes."),
        MemoryError(),
    ],
    ids=["cuda", "cpu", "python"],
)
def test_out_of_memory_says_what_to_lower(small: Run, monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def fail(self: LanguageObjective, indices: torch.Tensor) -> torch.Tensor:
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(LanguageObjective, "losses_and_gradient", fail)
        refused(small(), 1, "Out of memory. Lower --micro-batch-size, --context-length or --num-processes")
    assert small("--micro-batch-size", 2).code == 0


@pytest.mark.parametrize("device", ["cuda", "tpu"])
def test_a_device_that_is_not_there(small: Run, device: str) -> None:
    if device == "cuda" and torch.cuda.is_available():
        pytest.skip("this machine has one")
    refused(small("--device", device), 2, device)


def test_stopping_keeps_what_is_finished(small: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("hf_llc.estimation.run_chain", stop)
        ran = small("--output-dir", "run")
    assert (ran.code, ran.out) == (130, "")
    assert ran.err.splitlines()[-1] == "Interrupted. Finished chains are kept: run the same command to go on."
    kept = files_of(Path("run"))
    assert "resolved.json" in kept
    assert small("--output-dir", "run").code == 0
    assert {name: stat for name, stat in files_of(Path("run")).items() if name in kept} == kept


@pytest.mark.parametrize("error", [SettingsError("what is wrong"), KeyboardInterrupt()], ids=["error", "ctrl-c"])
def test_a_worker_leaves_it_to_its_parent_to_tell(
    run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, error: BaseException
) -> None:
    def fail(*_: object) -> None:
        raise error

    told = tmp_path / "error.json"
    monkeypatch.setenv("TORCHELASTIC_ERROR_FILE", str(told))
    monkeypatch.setattr("hf_llc.launching.work", fail)
    if isinstance(error, KeyboardInterrupt):
        assert run("worker", "plans.json") == Ran(130, "", "")
        assert not told.exists()
    else:
        assert run("worker", "plans.json") == Ran(2, "", "")
        assert json.loads(told.read_bytes())["told"] == "what is wrong"


def test_hf_debug_shows_the_traceback(small: Run, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    refused(run("estimate", "./nothing"), 1, "nothing")
    monkeypatch.setenv("HF_DEBUG", "1")
    with pytest.raises(Exception, match=r"\./nothing") as failure:
        run("estimate", "./nothing")
    assert type(failure.value).__name__ == "NotFoundError"


def test_a_fault_of_the_program_is_not_hidden(small: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("shapes do not match")

    monkeypatch.setattr("hf_llc.estimation.resolve", fail)
    with pytest.raises(RuntimeError, match="shapes do not match"):
        small()
