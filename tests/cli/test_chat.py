"""Conversations from end to end: estimates, forecasts, cards, comparisons, scans, several datasets."""

import json
import shlex
from pathlib import Path
from typing import Any

import pytest

import hf_llc
from hf_llc.errors import SettingsError
from hf_llc.execution.planning import plan
from hf_llc.measures.llc.calibration.explain import settings_of
from hf_llc.report.card import render
from hf_llc.report.card.escaping import command
from hf_llc.report.card.metadata import model_entries
from hf_llc.results.curve import Curve
from hf_llc.settings.data import DataSettings
from hf_llc.settings.model import ModelSettings
from hf_llc.settings.overrides import settings_from
from hf_llc.settings.sampler import SamplerSettings
from tests.helpers.command_line import SMALL, Ran, Run
from tests.helpers.estimates import SETTINGS
from tests.helpers.tiny_chat import conversations, make_chat_tokenizer, make_llama, pairs, save_chat_model
from tests.helpers.tiny_model import jsonl, sentences
from tests.helpers.tiny_text_models import write_rows
from tests.hub_server.server import HubServer

pytestmark = pytest.mark.usefixtures("blank_pictures")
FIXED = ["--gamma", 1000, "--n-beta", 15, "--context-length", 64]


@pytest.fixture(scope="session")
def chatty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a tiny Llama with a chat template; not to be changed."""
    return save_chat_model(tmp_path_factory.mktemp("chatty") / "model")


@pytest.fixture
def chats() -> Path:
    """A file of 40 conversations in the working directory."""
    return write_rows(Path("chats.jsonl"), conversations(40))


def estimated(run: Run, model: object, *more: object) -> dict[str, Any]:
    ran: Ran = run("estimate", model, *SMALL, *FIXED, "--json", *more)
    assert ran.code == 0, ran.err
    return ran.json


def test_an_estimate_says_on_which_tokens_its_loss_is(run: Run, chatty: Path, chats: Path) -> None:
    ran = run("estimate", chatty, "--dataset", chats, *SMALL, *FIXED)
    assert "40 × up to 64 tokens" in ran.out
    assert "column messages, loss on assistant, tokens " in ran.out
    assert "nats per token" in ran.out
    result = estimated(run, chatty, "--dataset", chats)
    assert result["dataset"]["loss_on"] == "assistant"
    assert (result["dataset"]["task"], result["dataset"]["unit"]) == ("text-generation", "nats per token")
    assert (result["settings"]["n"], result["settings"]["context_length"]) == (40, 64)
    assert "The loss of a sequence is the mean of its tokens of the assistant" in result["choices"]["text"]


def test_a_forecast_is_that_of_the_conversations_and_not_of_whole_contexts(run: Run, chatty: Path) -> None:
    short = write_rows(Path("pairs.jsonl"), [{"prompt": "a ", "completion": "b"}] * 9)
    ran = run("estimate", chatty, "--dataset", short, *SMALL, "--dry-run", "--json")
    width = estimated(run, chatty, "--dataset", short)["settings"]["context_length"]
    assert width == 3
    assert ran.json["tokens"] == 2 * 11 * 4 * width
    text = Path("text.jsonl")
    text.write_text(jsonl(60))
    assert run("estimate", chatty, "--dataset", text, *SMALL, "--dry-run", "--json").json["tokens"] == 2 * 11 * 4 * 128
    ran = run("estimate", chatty, "--dataset", "org/chats", "--loss-on", "assistant", *SMALL, "--dry-run", "--json")
    assert ran.json["tokens"] == 2 * 11 * 4 * 128
    assert "The sequences are taken to be 128 tokens long; most conversations are shorter." in ran.err


def test_conversations_in_memory_are_those_of_a_file(chats: Path, chatty: Path) -> None:
    settings: dict[str, Any] = {"sampler": "sgld-lm", "gamma": 1000.0, "n_beta": 15.0, "lr": 1e-4, "chains": 2,
                                "draws": 4, "burn_in": 1, "checks": False, "batch_size": 4}  # fmt: skip
    write_rows(Path("rest.jsonl"), conversations(12)[6:])
    write_rows(Path("first.jsonl"), conversations(12)[:6])
    listed = hf_llc.estimate(chatty, dataset=["first.jsonl", "rest.jsonl"], **settings)
    assert (
        listed.dataset.fingerprint == hf_llc.estimate(chatty, chats, max_sequences=12, **settings).dataset.fingerprint
    )
    memory = hf_llc.estimate(make_llama(), conversations(40), tokenizer=make_chat_tokenizer(), **settings)
    file = hf_llc.estimate(chatty, chats, **settings)
    assert (memory.llc, memory.dataset.fingerprint) == (file.llc, file.dataset.fingerprint)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ([{"messages": []}, "text"], r"data\[1\] must be a mapping, as the first one is, got 'text'"),
        (["text", {"messages": []}], r"data\[1\] must be a string, got a dict"),
        ([{"messages": {1, 2}}], r"data\[0\] must hold what JSON can hold"),
        ([], "data is an empty list"),
    ],
)
def test_rows_in_memory_that_are_none_are_refused(data: Any, message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        hf_llc.estimate(make_llama(), data, tokenizer=make_chat_tokenizer())


def test_the_card_says_what_counts_and_its_command_makes_the_number_again(
    run: Run, chatty: Path, chats: Path
) -> None:  # fmt: skip
    result = hf_llc.Estimate.from_dict(estimated(run, chatty, "--dataset", chats, "--max-sequences", 30))
    curve = Curve.of_estimate(result)
    section = render.render_section(render.Content(curve=curve, name="m", headline=curve.points))
    assert "n = 30 sequences of up to\n64 tokens" in section
    assert "The loss of each is the mean over its tokens of the assistant." in section
    assert "packed into" not in section
    (entry,) = model_entries("m", curve.points).results
    assert entry["metrics"][0]["args"]["loss_on"] == "assistant"
    assert "bos" not in entry["metrics"][0]["args"]
    assert entry["task"]["type"] == "text-generation"
    arguments = shlex.split(command(result.model, curve.points))
    assert arguments[arguments.index("--loss-on") + 1] == "assistant"
    again = run(*arguments[1:], "--json")
    assert again.code == 0, again.err
    assert (again.json["llc"], again.json["dataset"]) == (result.llc, result.to_dict()["dataset"])


def test_the_command_of_a_card_repeats_bos_and_several_datasets(run: Run, chatty: Path) -> None:
    for name, column in (("a", "text"), ("b", "content")):
        write_rows(Path(f"{name}.jsonl"), [{column: text} for text in sentences(60)])
    data = ["--dataset", "a.jsonl", "--dataset", "b.jsonl", "--bos", "always"]
    result = hf_llc.Estimate.from_dict(estimated(run, chatty, *data))
    assert result.dataset.bos == "always"
    arguments = shlex.split(command(result.model, Curve.of_estimate(result).points))
    assert [arguments[index + 1] for index, word in enumerate(arguments) if word == "--dataset"] == [
        "a.jsonl",
        "b.jsonl",
    ]
    again = run(*arguments[1:], "--json")
    assert again.code == 0, again.err
    assert (again.json["llc"], again.json["dataset"]) == (result.llc, result.to_dict()["dataset"])


def test_a_settings_file_of_a_calibration_names_the_data_again(chatty: Path, chats: Path) -> None:
    write_rows(Path("more.jsonl"), conversations(9))
    for data in (DataSettings(dataset=["chats.jsonl", "more.jsonl"]), DataSettings(dataset="chats.jsonl")):
        first = plan(ModelSettings(model=str(chatty)), data, SamplerSettings(batch_size=4))
        settings = settings_from(settings_of(first, data, SETTINGS))
        again = plan(ModelSettings(model=str(chatty)), data_of(settings), SamplerSettings(batch_size=4))
        assert again.corpus.fingerprint == first.corpus.fingerprint
        assert settings["loss_on"] == "assistant"
        assert "bos" not in settings


def data_of(settings: dict[str, Any]) -> DataSettings:
    names = ("dataset", "split", "text_column", "max_sequences", "context_length", "loss_on")
    return DataSettings(**{name: settings[name] for name in names if name in settings})


def test_numbers_on_other_tokens_are_not_comparable(run: Run, chatty: Path, chats: Path) -> None:
    one = estimated(run, chatty, "--dataset", chats, "--output-dir", "one")
    other = estimated(run, chatty, "--dataset", chats, "--loss-on", "all", "--output-dir", "other")
    assert one["dataset"]["fingerprint"] != other["dataset"]["fingerprint"]
    ran = run("compare", "one", "other").out
    assert "Not comparable. What counts are the tokens of the assistant for " in ran
    assert "all tokens of each row for " in ran


def test_several_datasets_on_the_hub_in_a_scan_that_is_finished_once(
    run: Run, hub: HubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    for name, rows in (("a", conversations(20)), ("b", conversations(30)[20:])):
        hub.add_dataset(f"org/{name}", {"train.jsonl": "".join(json.dumps(row) + "\n" for row in rows)})
    for step in (1, 2):
        save_chat_model(tmp_path / "series" / f"checkpoint-{step}", model=make_llama(step))
    arguments = ["scan", tmp_path / "series", "--dataset", "org/a", "--dataset", "org/b", *SMALL, "--gamma", 1000,
                 "--num-processes", 1, "--json"]  # fmt: skip
    first = run(*arguments)
    assert first.code == 0, first.err
    assert first.json["dataset"]["id"] == "org/a + org/b"
    assert first.json["settings"]["n"] == 30
    asked = len(hub.requests("/resolve/"))
    again = run(*arguments)
    assert again.json["points"] == first.json["points"]
    assert len(hub.requests("/resolve/")) == asked


def test_a_settings_file_may_name_several_datasets(run: Run, chatty: Path) -> None:
    for name, part in (("a", pairs(12)[:6]), ("b", pairs(12)[6:])):
        write_rows(Path(f"{name}.jsonl"), part)
    Path("settings.yaml").write_text("dataset: [a.jsonl, b.jsonl]\nloss_on: completion\n")
    result = estimated(run, chatty, "--settings", "settings.yaml")
    assert (result["dataset"]["id"], result["settings"]["n"]) == ("a.jsonl + b.jsonl", 12)
    assert estimated(run, chatty, "--settings", "settings.yaml", "--dataset", "a.jsonl")["settings"]["n"] == 6
