"""Conversations and completions as data: which tokens count, what is left out, and what is refused."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer

from hf_llc import DataSettings, ModelSettings
from hf_llc.checkpoints.resolve import find_model
from hf_llc.checkpoints.source import Corpus
from hf_llc.errors import NotFoundError, SettingsError, UnusableError
from hf_llc.sampling.objective import gradients
from hf_llc.tasks import TASKS
from hf_llc.tasks.base import Computation
from hf_llc.tasks.choose import find_items
from hf_llc.tasks.text_generation.targets import IDS, LABELS
from tests.helpers.tiny_chat import (
    CHATML,
    END,
    MARKED,
    START,
    Message,
    conversation,
    conversations,
    make_gemma,
    make_llama,
    pairs,
    save_chat_model,
)
from tests.helpers.tiny_model import EOS, save_tiny_model, sentences
from tests.helpers.tiny_text_models import write_rows
from tests.hub_server.environment import use_hub

TASK = TASKS["text-generation"]
IGNORED = -100
QUESTION, ANSWER = {"role": "user", "content": "the river"}, {"role": "assistant", "content": "runs below"}


@pytest.fixture(autouse=True)
def surroundings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """An empty working directory and cache, and no network."""
    use_hub(monkeypatch, "http://127.0.0.1:9", tmp_path / "hf_home")
    monkeypatch.chdir(tmp_path)


def corpus_of(model: Path, data: Path, remarks: list[str] | None = None, **settings: Any) -> Corpus:
    source = find_model(ModelSettings(model=str(model)))
    tell = (lambda message: None) if remarks is None else remarks.append
    return find_items(DataSettings(dataset=str(data), **settings), source, tell=tell)


def of_rows(model: Path, rows: list[dict[str, Any]], name: str = "rows.jsonl", **settings: Any) -> Corpus:
    return corpus_of(model, write_rows(Path(name), rows), **settings)


def refused(model: Path, rows: list[dict[str, Any]], message: str, **settings: Any) -> str:
    with pytest.raises(UnusableError, match=message) as caught:
        of_rows(model, rows, **settings)
    assert len(str(caught.value)) < 500
    assert "\n" not in str(caught.value)
    return str(caught.value)


def sequences(corpus: Corpus) -> list[tuple[list[int], list[int]]]:
    """Ids and labels of each sequence up to its last target."""
    items, rows = TASK.load_items(corpus), []
    for ids, labels in zip(items[IDS].tolist(), items[LABELS].tolist(), strict=True):
        rows.append(until_last_target(ids, labels))
    return rows


def until_last_target(ids: list[int], labels: list[int]) -> tuple[list[int], list[int]]:
    last = max(index for index, label in enumerate(labels) if label != IGNORED)
    return ids[: last + 1], labels[: last + 1]


def tokenizer_of(model: Path) -> Any:
    """As a user of transformers has it."""
    return AutoTokenizer.from_pretrained(model)


def losses_of(model: Path, corpus: Corpus, micro_batch: int | None = None) -> Tensor:
    network, items = TASK.load_model(find_model(ModelSettings(model=str(model))), "cpu", 1), TASK.load_items(corpus)
    TASK.refuse(network, items)
    computation = Computation(batch_size=64, micro_batch_size=micro_batch, dtype=None, sharded=False)
    return TASK.objective(network, items, list(network.parameters()), computation).losses(torch.arange(corpus.n))


def by_hand(tokenizer: Any, messages: list[Message]) -> tuple[list[int], list[int]]:
    """Ids and labels of ChatML, message by message: special tokens stand between them, so that none are joined."""
    ids: list[int] = []
    labels: list[int] = []
    for message in messages:
        head = tokenizer(f"{START}{message['role']}\n", add_special_tokens=False)["input_ids"]
        body = tokenizer(f"{message['content']}{END}\n", add_special_tokens=False)["input_ids"]
        ids += head + body
        labels += [IGNORED] * len(head) + (body if message["role"] == "assistant" else [IGNORED] * len(body))
    return ids, labels


def as_transformers(model: Path, rows: list[tuple[list[int], list[int]]], side: str) -> Tensor:
    """The loss that transformers gives each row: alone, or padded to the longest on one side below a mask."""
    network = AutoModelForCausalLM.from_pretrained(model).eval()
    width, losses = max(len(ids) for ids, _ in rows), []
    for ids, labels in rows:
        pad = 0 if side == "alone" else width - len(ids)
        tensors = {
            "input_ids": [*ids, *[0] * pad], "labels": [*labels, *[IGNORED] * pad],
            "attention_mask": [*[1] * len(ids), *[0] * pad],
        }  # fmt: skip
        if side == "left":
            tensors = {name: [*each[len(ids) :], *each[: len(ids)]] for name, each in tensors.items()}
            tensors["position_ids"] = [0] * pad + list(range(len(ids)))
        with torch.no_grad():
            losses.append(network(**{name: torch.tensor([each]) for name, each in tensors.items()}).loss)
    return torch.stack(losses)


@pytest.mark.parametrize("side", ["alone", "right", "left"])
@pytest.mark.parametrize("make", [make_llama, make_gemma])
def test_the_loss_of_a_conversation_is_that_of_transformers_with_the_labels_of_the_assistant(
    make: Any, side: str, tmp_path: Path
) -> None:
    model = save_chat_model(tmp_path / "model", model=make())
    rows = conversations(24)
    corpus = of_rows(model, rows, context_length=64)
    tokenizer = tokenizer_of(model)
    expected = [by_hand(tokenizer, row["messages"]) for row in rows]
    cut = [(ids[:64], labels[:64]) for ids, labels in expected]
    theirs = as_transformers(model, cut, side)
    for micro_batch in (None, 5):
        torch.testing.assert_close(losses_of(model, corpus, micro_batch), theirs, rtol=1e-6, atol=0)
    assert sequences(corpus) == [until_last_target(*row) for row in cut]
    assert (corpus.loss_on, corpus.text_column, corpus.task) == ("assistant", "messages", "text-generation")


def test_a_head_that_is_cut_off_gives_the_losses_and_gradients_of_whole_logits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    corpus = of_rows(save_chat_model(tmp_path / "model"), conversations(12))
    network, items = TASK.load_model(find_model(ModelSettings(model=str(tmp_path / "model"))), "cpu", 1), None
    items = TASK.load_items(corpus)
    computation = Computation(batch_size=12, micro_batch_size=5, dtype=None, sharded=False)
    results = []
    for chunk in (2**22, 1):
        monkeypatch.setattr("hf_llc.tasks.text_generation.head.CHUNK", chunk)
        objective = TASK.objective(network, items, list(network.parameters()), computation)
        losses = objective.losses_and_gradient(torch.arange(12))
        results.append((losses, [gradient.clone() for gradient in gradients(objective.parameters)]))
        assert torch.allclose(losses, objective.losses(torch.arange(12)), atol=1e-6)
    torch.testing.assert_close(results[0], results[1], rtol=1e-4, atol=1e-6)


def test_marks_of_a_template_choose_the_tokens_that_transformers_marks(tmp_path: Path) -> None:
    model = save_chat_model(tmp_path / "model", MARKED)
    rows = conversations(12)
    tokenizer = tokenizer_of(model)
    for row, (ids, labels) in zip(rows, sequences(of_rows(model, rows)), strict=True):
        theirs = tokenizer.apply_chat_template(row["messages"], return_assistant_tokens_mask=True, return_dict=True)
        marked = [
            id_ if mark else IGNORED for id_, mark in zip(theirs["input_ids"], theirs["assistant_masks"], strict=True)
        ]
        assert labels == marked[: len(labels)]
        assert set(marked[len(labels) :]) <= {IGNORED} or len(labels) == 64
        assert ids == theirs["input_ids"][: len(ids)]


def test_a_completion_counts_with_the_token_that_ends_it_and_its_prompt_does_not(tmp_path: Path) -> None:
    model = save_chat_model(tmp_path / "model")
    rows = pairs(12)
    corpus = of_rows(model, rows)
    tokenizer = tokenizer_of(model)
    for row, (ids, labels) in zip(rows, sequences(corpus), strict=True):
        whole = tokenizer(row["prompt"] + row["completion"], add_special_tokens=False)["input_ids"]
        assert ids == [*whole, tokenizer.eos_token_id][:64]
        assert tokenizer.decode([label for label in labels if label != IGNORED]).startswith(row["completion"][:8])
    assert (corpus.loss_on, corpus.text_column) == ("completion", "prompt, completion")
    torch.testing.assert_close(
        losses_of(model, corpus), as_transformers(model, sequences(corpus), "alone"), rtol=0, atol=1e-6
    )


def test_a_completion_that_already_ends_with_the_token_does_not_get_a_second_one(tmp_path: Path) -> None:
    model = save_chat_model(tmp_path / "model")
    plain = sequences(of_rows(model, pairs(3)))
    ended = [{**row, "completion": row["completion"] + EOS} for row in pairs(3)]
    assert sequences(of_rows(model, ended, "ended.jsonl")) == plain


def test_a_completion_of_messages_is_the_last_turn_of_its_conversation(tmp_path: Path) -> None:
    model = save_chat_model(tmp_path / "model")
    rows = [row["messages"] for row in conversations(8)]
    split = [{"prompt": messages[:-1], "completion": messages[-1:]} for messages in rows]
    corpus = of_rows(model, split)
    whole = sequences(of_rows(model, [{"messages": messages} for messages in rows], "whole.jsonl"))
    for (ids, labels), (all_ids, all_labels), messages in zip(sequences(corpus), whole, rows, strict=True):
        assert ids == all_ids
        one_answer = sum(message["role"] == "assistant" for message in messages) == 1
        assert (labels == all_labels) == one_answer
        assert labels[-1] == all_labels[-1]
    assert corpus.loss_on == "completion"


def test_with_all_tokens_each_row_counts_whole_but_for_its_first_token(tmp_path: Path) -> None:
    model = save_chat_model(tmp_path / "model")
    corpus = of_rows(model, conversations(4), loss_on="all")
    assert all(labels == [IGNORED, *ids[1:]] for ids, labels in sequences(corpus))
    assert corpus.loss_on == "all"


def test_conversations_as_sharegpt_and_as_lists_of_each_key_are_the_same_ones(tmp_path: Path) -> None:
    model = save_chat_model(tmp_path / "model")
    names = {"user": "human", "assistant": "gpt", "system": "system"}
    plain = [row["messages"] for row in conversations(6)]
    sharegpt = [
        {"conversations": [{"from": names[each["role"]], "value": each["content"]} for each in messages]}
        for messages in plain
    ]
    columns = [
        {"messages": {key: [each[key] for each in messages] for key in ("role", "content")}} for messages in plain
    ]
    expected = of_rows(model, conversations(6)).fingerprint
    assert of_rows(model, sharegpt, "sharegpt.jsonl").fingerprint == expected
    assert of_rows(model, columns, "columns.jsonl").fingerprint == expected


def test_what_was_cut_or_left_out_is_told(tmp_path: Path) -> None:
    model = save_chat_model(tmp_path / "model")
    long = {"messages": [{**QUESTION, "content": "stone bridge " * 60}, ANSWER]}
    rows = [
        *conversations(8), {"messages": None}, {"messages": []}, {"messages": [QUESTION]}, long, {"other": 1},
    ]  # fmt: skip
    corpus = of_rows(model, rows, context_length=64)
    remarks = " ".join(corpus.remarks)
    assert corpus.n == 8
    assert "Of the 13 rows read, 2 without messages and 1 with empty messages are left out." in remarks
    assert "Left out: 1 row without a token of the assistant." in remarks
    assert "Left out: 1 row in which what counts begins behind token 64." in remarks
    targets = [by_hand(tokenizer_of(model), row["messages"])[1] for row in conversations(8)]
    cut = sum(any(label != IGNORED for label in labels[64:]) for labels in targets)
    assert 0 < cut < 8
    assert f"{cut} of 8 sequences are cut to 64 tokens." in remarks
    count = sum(label != IGNORED for labels in targets for label in labels[:64])
    assert f"{count / 8:.1f} of " in remarks


def test_the_first_usable_rows_are_taken(tmp_path: Path) -> None:
    model = save_chat_model(tmp_path / "model")
    rows = [{"messages": [QUESTION]}, *conversations(6)]
    corpus = of_rows(model, rows, max_sequences=4)
    assert sequences(corpus) == sequences(of_rows(model, conversations(4), "four.jsonl"))


def test_a_table_with_text_is_text_as_it_was_before(tmp_path: Path) -> None:
    model = save_chat_model(tmp_path / "model")
    texts = [{"text": text} for text in sentences(60)]
    plain = of_rows(model, texts)
    both = [{**text, **row, **pair} for text, row, pair in zip(texts, conversations(60), pairs(60), strict=True)]
    corpus = of_rows(model, both, "both.jsonl")
    assert (corpus.fingerprint, corpus.loss_on) == (plain.fingerprint, None)
    assert "Column text is read as text" in corpus.remarks[0]
    chosen = {
        "assistant": {"loss_on": "assistant"}, "messages": {"text_column": "messages"},
        "completion": {"loss_on": "completion"},
    }  # fmt: skip
    columns = {name: of_rows(model, both, "both.jsonl", **each).text_column for name, each in chosen.items()}
    assert columns == {"assistant": "messages", "messages": "messages", "completion": "prompt, completion"}


def test_messages_that_are_json_are_conversations_where_that_is_asked_for(tmp_path: Path) -> None:
    model = save_chat_model(tmp_path / "model")
    rows = [{"messages": json.dumps(row["messages"])} for row in conversations(9)]
    corpus = of_rows(model, rows, "json.jsonl", loss_on="assistant")
    assert corpus.fingerprint == of_rows(model, conversations(9)).fingerprint
    text = of_rows(model, rows, "json.jsonl")
    assert text.loss_on is None
    assert text.remarks[0].endswith("for conversations or completions set `loss_on=assistant`.")


def test_columns_of_other_names_can_be_completions(tmp_path: Path) -> None:
    model = save_chat_model(tmp_path / "model")
    rows = [{"question": row["prompt"], "answer": row["completion"], "text": "x"} for row in pairs(4)]
    corpus = of_rows(model, rows, text_column="question, answer", loss_on="completion")
    assert corpus.fingerprint == of_rows(model, pairs(4), "pairs.jsonl").fingerprint


def test_a_text_that_is_asked_for_is_text_beside_a_prompt(tmp_path: Path) -> None:
    model = save_chat_model(tmp_path / "model")
    rows = [{"prompt": text, "completion": "x", "id": 3} for text in sentences(60)]
    assert of_rows(model, rows, text_column="prompt").loss_on is None


def test_keys_without_a_value_are_as_if_they_were_not_there(tmp_path: Path) -> None:
    model = save_chat_model(tmp_path / "model")
    arrow = [
        {"messages": [{**each, "name": None, "tool_calls": None} for each in row["messages"]]}
        for row in conversations(4)
    ]
    assert of_rows(model, arrow, "arrow.jsonl").fingerprint == of_rows(model, conversations(4)).fingerprint


TOOLS = CHATML.replace("{% for", "{% if tools %}{{ tools | tojson }}{% endif %}{% for", 1).replace(
    "(message['content'] or '')",
    "(message['content'] or '') + (message['tool_calls'] | tojson if message['tool_calls'] else '')",
)


def test_tool_calls_count_and_tools_are_written_before(tmp_path: Path) -> None:
    model = save_chat_model(tmp_path / "model", TOOLS)
    call = {"role": "assistant", "content": None, "tool_calls": [{"name": "f", "arguments": {"a": 1}}]}
    answer = {"role": "tool", "content": "7"}
    messages, tools = [QUESTION, call, answer, ANSWER], [{"name": "f", "description": None}]
    corpus = of_rows(
        model, [{"messages": messages, "tools": tools}, {"messages": messages, "tools": json.dumps(tools)}]
    )
    tokenizer = tokenizer_of(model)
    (ids, labels), (_, others) = sequences(corpus)
    text = tokenizer.decode(ids)
    assert text.startswith('[{"name": "f"}]')
    said = tokenizer.decode([label for label in labels if label != IGNORED])
    assert said == '[{"name": "f", "arguments": {"a": 1}}]<|im_end|>\nruns below<|im_end|>\n'
    assert tokenizer.decode([label for label in others if label != IGNORED]) == said


def test_an_answer_that_nothing_precedes_counts_without_what_is_before_it(tmp_path: Path) -> None:
    with_system = (
        "{% if messages[0]['role'] != 'system' %}{{ '<|im_start|>system\nhelp<|im_end|>\n' }}{% endif %}" + CHATML
    )
    for name, template in (("plain", CHATML), ("system", with_system)):
        model = save_chat_model(tmp_path / name, template)
        (_, labels), _ = sequences(
            of_rows(model, [{"messages": [ANSWER, QUESTION]}, *conversations(1)], f"{name}.jsonl")
        )
        said = tokenizer_of(model).decode([label for label in labels if label != IGNORED])
        assert said == f"runs below{END}\n"


REFUSALS: dict[str, tuple[Any, str]] = {
    "a string": ("hello", "Row 2 of .*, column messages: a list of messages is needed, got 'hello'"),
    "a number": (float("nan"), "a list of messages is needed, got nan"),
    "strings": (["hello"], "message 1: a mapping with role and content is needed, got 'hello'"),
    "no role": ([{"content": "a"}], "message 1: role must be a string"),
    "no content": ([QUESTION, {"role": "assistant"}], "message 2 of the role assistant has no content"),
    "a number as content": ([{"role": "user", "content": 3}], "message 1: content must be a string, got 3"),
    "an image": (
        [{"role": "user", "content": [{"type": "image", "url": "x"}]}], "content must be text, got .* type 'image'"
    ),
    "an unknown speaker": ([{"from": "observation", "value": "x"}], "message 1 is from 'observation'; human, "),
    "a surrogate": ([QUESTION, {**ANSWER, "content": "\ud800"}], "holds an unpaired surrogate"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSALS)
def test_a_row_that_is_no_conversation_is_refused_with_its_place(name: str, tmp_path: Path) -> None:
    model = save_chat_model(tmp_path / "model")
    messages, message = REFUSALS[name]
    refused(model, [*conversations(1), {"messages": messages}, *conversations(2)], message)


def test_a_prompt_and_a_completion_of_two_kinds_are_refused(tmp_path: Path) -> None:
    model = save_chat_model(tmp_path / "model")
    rows = [*pairs(2), {"prompt": "a", "completion": [ANSWER]}]
    refused(
        model, rows, "Row 3 of .*: prompt and completion must both be strings or both lists of messages",
        loss_on="completion",
    )  # fmt: skip


def test_a_tokenizer_without_a_template_is_refused_with_what_to_do(tmp_path: Path) -> None:
    line = refused(save_chat_model(tmp_path / "model", None), conversations(4), "has no chat template")
    assert "chat_template.jinja" in line


STRICT = (
    "{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}" + CHATML
)
LAST_ONLY = CHATML.replace("(message['content'] or '')", "(message['content'] if loop.last else '…')")


@pytest.mark.parametrize(
    ("template", "messages", "message"),
    [
        (
            STRICT,
            [{"role": "system", "content": "x"}, QUESTION, ANSWER],
            r"refuses this conversation \(System role not",
        ),
        (CHATML + "{{ 1 + 'a' }}", [QUESTION, ANSWER], r"refuses this conversation \("),
        (CHATML + "{% for", [QUESTION, ANSWER], r"refuses this conversation \("),
        (LAST_ONLY, [QUESTION, ANSWER, QUESTION, ANSWER], "writes the first 1 messages in another way when others"),
    ],
)
def test_a_template_that_raises_or_changes_what_was_said_is_refused(
    template: str, messages: list[Message], message: str, tmp_path: Path
) -> None:
    model = save_chat_model(tmp_path / "model", template)
    line = refused(model, [{"messages": messages}, {"messages": messages}], message)
    assert line.startswith("Row 1 of rows.jsonl, column messages: ")


def test_all_tokens_need_no_turns_to_be_told_apart(tmp_path: Path) -> None:
    model = save_chat_model(tmp_path / "model", LAST_ONLY)
    assert of_rows(model, [{"messages": conversation(1)}] * 2, loss_on="all").n == 2


def test_a_template_is_told_the_same_day_whenever_it_asks(tmp_path: Path) -> None:
    model = save_chat_model(tmp_path / "model", "{{ strftime_now('%d %b %Y') + '\n' }}" + CHATML)
    corpus = of_rows(model, conversations(3))
    tokenizer = tokenizer_of(model)
    assert tokenizer.decode(sequences(corpus)[0][0]).startswith("26 Jul 2024\n")
    assert "it is told that today is 26 July 2024" in " ".join(corpus.remarks)


def test_another_template_is_other_data(tmp_path: Path) -> None:
    one = of_rows(save_chat_model(tmp_path / "one"), conversations(3))
    other = of_rows(save_chat_model(tmp_path / "other", MARKED), conversations(3))
    assert one.fingerprint != other.fingerprint
    assert one.path != other.path


def test_the_second_call_reads_what_the_first_one_has_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = save_chat_model(tmp_path / "model")
    first = of_rows(model, conversations(3))
    monkeypatch.setattr("hf_llc.tasks.text.corpus.read_local", lambda *_: pytest.fail("the rows were read again"))
    assert corpus_of(model, Path("rows.jsonl")) == first


def test_text_beyond_ascii_and_tokens_that_are_spelled_out_are_as_transformers_reads_them(tmp_path: Path) -> None:
    model = save_chat_model(tmp_path / "model")
    messages = [{**QUESTION, "content": "größer 東京 😀"}, {**ANSWER, "content": f"né{END} ok"}]
    ((ids, labels), _) = sequences(of_rows(model, [{"messages": messages}, *conversations(1)], context_length=64))
    theirs = tokenizer_of(model).apply_chat_template(messages, return_dict=True)["input_ids"]
    assert ids == theirs
    assert tokenizer_of(model).decode([x for x in labels if x != IGNORED]) == f"né{END} ok{END}\n"


def test_a_row_of_millions_of_characters_is_cut(tmp_path: Path) -> None:
    model = save_chat_model(tmp_path / "model")
    huge = [{**QUESTION}, {**ANSWER, "content": "stone bridge " * 250_000}]
    corpus = of_rows(model, [{"messages": huge}, *conversations(1)], context_length=64)
    assert len(sequences(corpus)[0][0]) == 64
    assert sequences(corpus)[0][0] == by_hand(tokenizer_of(model), [
        huge[0], {**huge[1], "content": "stone bridge " * 100}
    ])[0][:64]  # fmt: skip


def test_an_answer_that_joins_a_token_of_the_prompt_counts_from_that_token_on(tmp_path: Path) -> None:
    model = save_chat_model(tmp_path / "model")
    tokenizer, text = tokenizer_of(model), "below the old river"
    offsets = tokenizer(text, return_offsets_mapping=True)["offset_mapping"]
    begin, _ = next(pair for pair in reversed(offsets) if pair[1] - pair[0] > 1)
    rows = [{"prompt": text[:at], "completion": text[at:]} for at in (begin, begin + 1)]
    corpus = of_rows(model, rows)
    apart, joined = sequences(corpus)
    assert joined == apart
    assert "In 1 of 2 sequences a token holds the end of the prompt" in " ".join(corpus.remarks)
    assert tokenizer.decode([label for label in joined[1] if label != IGNORED]) == text[begin:] + EOS


def test_a_token_that_holds_the_end_of_an_answer_counts(tmp_path: Path) -> None:
    model = save_chat_model(tmp_path / "model", "{% for message in messages %}{{ message['content'] }}{% endfor %}")
    tokenizer, text = tokenizer_of(model), "below the old river"
    offsets = tokenizer(text, return_offsets_mapping=True)["offset_mapping"]
    begin, end = next(pair for pair in reversed(offsets) if pair[1] - pair[0] > 1)
    parts = [text[:6], text[6 : begin + 1], text[begin + 1 :]]
    roles = ("user", "assistant", "user")
    messages = [{"role": role, "content": part} for role, part in zip(roles, parts, strict=True)]
    (_, labels), _ = sequences(of_rows(model, [{"messages": messages}] * 2))
    assert tokenizer.decode([label for label in labels if label != IGNORED]).endswith(text[begin:end])


def test_fewer_than_two_sequences_are_refused_with_the_reasons(tmp_path: Path) -> None:
    model = save_chat_model(tmp_path / "model")
    line = refused(model, [*conversations(1), {"messages": [QUESTION]}], "gives 1 sequences with tokens that count")
    assert "Left out: 1 row without a token of the assistant." in line


def test_columns_that_are_not_there_are_named(tmp_path: Path) -> None:
    model, rows = save_chat_model(tmp_path / "model"), conversations(3)
    with pytest.raises(NotFoundError, match=r"has no column message; did you mean messages"):
        of_rows(model, rows, text_column="message", loss_on="assistant")
    with pytest.raises(NotFoundError, match="has no column prompt"):
        of_rows(model, rows, loss_on="completion")
    with pytest.raises(UnusableError, match="a column of prompts and one of completions, got messages"):
        of_rows(model, rows, loss_on="completion", text_column="messages")
    with pytest.raises(NotFoundError, match="has no column messages of conversations; its columns are text"):
        of_rows(model, [{"text": "a"}] * 3, "text.jsonl", loss_on="assistant")
    Path("plain.txt").write_text("hello")
    with pytest.raises(UnusableError, match="is plain text, which has no assistant"):
        corpus_of(model, Path("plain.txt"), loss_on="assistant")


def test_bos_is_for_texts_that_no_template_writes(tmp_path: Path) -> None:
    model = save_chat_model(tmp_path / "model", bos=True)
    tokenizer = tokenizer_of(model)
    begins = {bos: sequences(of_rows(model, pairs(3), bos=bos))[0][0][0] for bos in ("auto", "always", "never")}
    first = tokenizer(pairs(1)[0]["prompt"], add_special_tokens=False)["input_ids"][0]
    assert begins == {"auto": tokenizer.bos_token_id, "always": tokenizer.bos_token_id, "never": first}
    assert sequences(of_rows(model, conversations(3), "chat.jsonl"))[0][0][0] != tokenizer.bos_token_id
    with pytest.raises(SettingsError, match="bos must be auto for conversations, whose beginning the chat template"):
        of_rows(model, conversations(3), "chat.jsonl", bos="always")


def test_a_model_whose_logits_depend_on_what_follows_is_refused(tmp_path: Path) -> None:
    model = save_chat_model(tmp_path / "model")
    corpus = of_rows(model, conversations(6))
    network, items = TASK.load_model(find_model(ModelSettings(model=str(model))), "cpu", 1), TASK.load_items(corpus)
    TASK.refuse(network, items)
    forward = network.forward

    def with_length(input_ids: Tensor, **options: Any) -> Any:
        output = forward(input_ids=input_ids, **options)
        output.logits = output.logits * input_ids.shape[1]
        return output

    network.forward = with_length
    with pytest.raises(UnusableError, match=r"LlamaForCausalLM gives a sequence of .* other logits when others follow"):
        TASK.refuse(network, items)


def test_a_model_without_template_still_reads_completions_of_strings(tmp_path: Path) -> None:
    assert of_rows(save_tiny_model(tmp_path / "model"), pairs(4)).n == 4
