"""Text classification: which losses, which classes, what is refused, and estimates from end to end."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import ClassLabel
from datasets.arrow_dataset import Dataset
from torch.nn import functional
from transformers import AutoModelForSequenceClassification, AutoTokenizer, BertModel

from hf_llc import DataSettings, HfLlcError, ModelSettings, estimate, scan
from hf_llc.checkpoints.resolve import find_model
from hf_llc.checkpoints.source import Corpus
from hf_llc.errors import NotFoundError, UnusableError
from hf_llc.report.card.metadata import model_entries
from hf_llc.tasks import TASKS
from hf_llc.tasks.base import Computation, Readable
from hf_llc.tasks.choose import find_items
from tests.helpers.tiny_model import save_tiny_model
from tests.helpers.tiny_text_models import (
    NAMES,
    bert_config,
    labelled,
    make_bert_tokenizer,
    save_bert_classifier,
    save_masked_bert,
    save_neox_classifier,
    write_rows,
)
from tests.hub_server.environment import use_hub

SHORT: dict[str, Any] = {"n_beta": 30.0, "gamma": 1000.0, "chains": 2, "draws": 20, "seed": 1}


@pytest.fixture(autouse=True)
def surroundings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """An empty working directory and cache, and no network."""
    use_hub(monkeypatch, "http://127.0.0.1:9", tmp_path / "hf_home")
    monkeypatch.chdir(tmp_path)


def outcome(model: Path, data: Path, told: list[str] | None = None, **settings: Any) -> Corpus:
    source = find_model(ModelSettings(model=str(model)))
    tell = (lambda message: None) if told is None else told.append
    return find_items(DataSettings(dataset=str(data), **settings), source, tell=tell)


def losses_of(model: Path, corpus: Corpus) -> torch.Tensor:
    task = TASKS["text-classification"]
    network, items = task.load_model(find_model(ModelSettings(model=str(model))), "cpu", 1), task.load_items(corpus)
    task.refuse(network, items)
    computation = Computation(batch_size=64, micro_batch_size=None, dtype=None, sharded=False)
    return task.objective(network, items, list(network.parameters()), computation).losses(torch.arange(corpus.n))


def as_transformers(model: Path, texts: Sequence[tuple[str, ...]], labels: list[int], longest: int) -> torch.Tensor:
    """The loss that transformers itself gives each text alone, which needs no padding; sorted."""
    network, tokenizer = AutoModelForSequenceClassification.from_pretrained(model), AutoTokenizer.from_pretrained(model)
    network.eval()
    losses = []
    for text, label in zip(texts, labels, strict=True):
        inputs = tokenizer(*text, truncation=True, max_length=longest, return_tensors="pt")
        with torch.no_grad():
            losses.append(network(**inputs, labels=torch.tensor([label])).loss)
    return torch.stack(losses).sort().values


@pytest.mark.parametrize("save", [save_bert_classifier, save_neox_classifier])
def test_losses_are_those_of_transformers_for_each_text_alone(save: Any, tmp_path: Path) -> None:
    model, rows = save(tmp_path / "model"), labelled(30)
    corpus = outcome(model, write_rows(tmp_path / "rows.jsonl", rows), context_length=10)
    expected = as_transformers(model, [(row["text"],) for row in rows], [row["label"] for row in rows], 10)
    assert (corpus.n, corpus.context_length, corpus.task) == (30, 10, "text-classification")
    torch.testing.assert_close(losses_of(model, corpus).sort().values, expected, rtol=0, atol=1e-6)
    assert any("texts are cut to 10 tokens" in remark for remark in corpus.remarks)


def test_a_pair_of_columns_is_encoded_as_a_pair(tmp_path: Path) -> None:
    model = save_bert_classifier(tmp_path / "model")
    rows = [
        {"question": row["text"], "answer": "the bells ring", "other": "river", "label": row["label"]}
        for row in labelled(12)
    ]
    data = write_rows(tmp_path / "rows.jsonl", rows)
    corpus = outcome(model, data, text_column="question,answer")
    pairs = [(row["question"], row["answer"]) for row in rows]
    expected = as_transformers(model, pairs, [row["label"] for row in rows], 64)
    torch.testing.assert_close(losses_of(model, corpus).sort().values, expected, rtol=0, atol=1e-6)
    assert corpus.text_column == "question, answer"
    assert outcome(model, data, text_column="question").fingerprint != corpus.fingerprint


@pytest.mark.parametrize("padding", [0, None])
def test_a_decoder_is_scored_where_transformers_does_though_texts_end_with_a_special_token(
    padding: int | None, tmp_path: Path
) -> None:
    """At the last token; where padding is the end of a text too, at the last one that is not padding."""
    model = save_neox_classifier(tmp_path / "model", pad_token_id=padding)
    rows = [{**row, "text": row["text"] + "<|endoftext|>"} for row in labelled(12)]
    corpus = outcome(model, write_rows(tmp_path / "rows.jsonl", rows))
    expected = as_transformers(model, [(row["text"],) for row in rows], [row["label"] for row in rows], 64)
    torch.testing.assert_close(losses_of(model, corpus).sort().values, expected, rtol=0, atol=1e-6)


def classes_in(tmp_path: Path, labels: Any, model: Path, **settings: Any) -> list[int]:
    """The numbers that the first rows get, in the order of the rows."""
    texts = [row["text"] for row in labelled(len(labels))]
    rows = [{"text": text, "label": label} for text, label in zip(texts, labels, strict=True)]
    corpus = outcome(model, write_rows(tmp_path / "rows.jsonl", rows), **settings)
    order = torch.randperm(corpus.n, generator=torch.Generator().manual_seed(0))
    return TASKS["text-classification"].load_items(corpus)["labels"][order.argsort()].tolist()


def test_classes_are_matched_by_name(tmp_path: Path) -> None:
    model = save_bert_classifier(tmp_path / "model")
    assert classes_in(tmp_path, ["odd", "even", "odd"], model) == [1, 0, 1]
    assert classes_in(tmp_path, ["EVEN", "Odd"], model) == [0, 1]
    rows = Dataset.from_list(labelled(10)).cast_column("label", ClassLabel(names=["odd", "even"]))
    rows.to_parquet(tmp_path / "rows.parquet")
    told: list[str] = []
    corpus = outcome(model, tmp_path / "rows.parquet", told)
    labels = TASKS["text-classification"].load_items(corpus)["labels"]
    order = torch.randperm(10, generator=torch.Generator().manual_seed(0))
    assert labels[order.argsort()].tolist() == [1 - row["label"] for row in labelled(10)]
    assert (corpus.loss_of_guessing, told) == (None, [])


def test_classes_without_names_are_matched_by_number_which_is_said(tmp_path: Path) -> None:
    model = save_bert_classifier(tmp_path / "model")
    told: list[str] = []
    corpus = outcome(model, write_rows(tmp_path / "rows.jsonl", labelled(8)), told)
    assert told == ["Classes are matched by number, since the data has no names for them."]
    assert corpus.loss_of_guessing == pytest.approx(0.6931, abs=1e-4)
    (tmp_path / "rows.csv").write_text("text,label\n" + "".join(f"{row['text']},1\n" for row in labelled(4)))
    assert TASKS["text-classification"].load_items(outcome(model, tmp_path / "rows.csv"))["labels"].tolist() == [1] * 4


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (["good", "even"], "The classes of .*rows.jsonl are not those of .*model. Data: even, good. Model: even, odd."),
        ([0, 2], "has the class 2, but .* has the classes 0 to 1"),
        ([0, -1], "has the class -1, .*-1 marks rows without a class, choose another `split`"),
        ([0.5, 1.5], "Column label of .* holds a float .*labels must be whole numbers or names"),
        ([[0, 1], [1]], "several labels a row .*only one class"),
        ([1], "gives 1 texts with a label, and at least 2 are needed"),
    ],
)
def test_other_labels_are_refused(labels: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises(UnusableError, match=message):
        classes_in(tmp_path, labels, save_bert_classifier(tmp_path / "model"))


def test_names_of_classes_that_the_model_does_not_name_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UnusableError, match=r"has no names for its classes .LABEL_0, LABEL_1, …., so that those of"):
        classes_in(tmp_path, ["good", "bad"], save_neox_classifier(tmp_path / "model"))
    assert classes_in(tmp_path, ["LABEL_1", "LABEL_0"], tmp_path / "model") == [1, 0]


def test_the_column_of_labels_is_named_or_the_only_one_of_numbers(tmp_path: Path) -> None:
    model = save_bert_classifier(tmp_path / "model")
    rows = [{"text": row["text"], "stars": row["label"], "sense": NAMES[row["label"]]} for row in labelled(6)]
    data = write_rows(tmp_path / "rows.jsonl", rows)
    assert (
        outcome(model, data, text_column="text").fingerprint == outcome(model, data, label_column="sense").fingerprint
    )
    with pytest.raises(NotFoundError, match="has no column star; did you mean stars"):
        outcome(model, data, label_column="star")
    write_rows(data, [{**row, "year": 2001} for row in rows])
    with pytest.raises(NotFoundError, match="has no column label; its columns are text, stars, sense, year"):
        outcome(model, data)
    (tmp_path / "text.txt").write_text("the river\n")
    with pytest.raises(UnusableError, match="is plain text, which has no labels"):
        outcome(model, tmp_path / "text.txt")


def test_rows_without_a_text_or_label_are_left_out_and_a_part_is_taken_at_random(tmp_path: Path) -> None:
    model, told = save_bert_classifier(tmp_path / "model"), list[str]()
    rows = sorted(labelled(20), key=lambda row: row["label"])
    data = write_rows(tmp_path / "rows.jsonl", [*rows, {"text": None, "label": 1}, {"text": "a", "label": None}])
    corpus = outcome(model, data, told, max_sequences=10)
    assert "Left out: 2 rows without text or label." in told
    assert "10 of 20 texts are taken, at random." in told
    assert TASKS["text-classification"].load_items(corpus)["labels"].unique().tolist() == [0, 1]
    assert outcome(model, data, max_sequences=10) == corpus


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"problem_type": "multi_label_classification"}, "problem_type is multi_label_classification"),
        ({"problem_type": "regression"}, "problem_type is regression"),
        ({"id2label": {0: "score"}, "label2id": {"score": 0}}, "has a single output, as models of regression"),
    ],
)
def test_other_problems_are_refused(changes: Any, message: str, tmp_path: Path) -> None:
    model = save_bert_classifier(tmp_path / "model", **changes)
    with pytest.raises(UnusableError, match=message):
        outcome(model, write_rows(tmp_path / "rows.jsonl", labelled(8)))


def test_a_model_without_such_a_head_is_refused_whatever_task_is_named(tmp_path: Path) -> None:
    data = write_rows(tmp_path / "rows.jsonl", labelled(8))
    for model, head in ((save_tiny_model(tmp_path / "neox"), "GPTNeoXForCausalLM"),
                        (save_masked_bert(tmp_path / "bert"), "BertForMaskedLM")):  # fmt: skip
        with pytest.raises(UnusableError, match=f"is a {head}, not a text classifier"):
            outcome(model, data, task="text-classification")
    with pytest.raises(HfLlcError, match="got 'text-clasification'; did you mean text-classification"):
        outcome(tmp_path / "bert", data, task="text-clasification")


def test_an_encoder_without_a_head_is_refused(tmp_path: Path) -> None:
    BertModel(bert_config()).save_pretrained(tmp_path / "bert")
    make_bert_tokenizer().save_pretrained(tmp_path / "bert")
    data = write_rows(tmp_path / "rows.jsonl", labelled(8))
    with pytest.raises(UnusableError, match=r"an encoder without a head.* BertForSequenceClassification"):
        outcome(tmp_path / "bert", data)
    with pytest.raises(UnusableError, match="is a BertModel, not a text classifier"):
        outcome(tmp_path / "bert", data, task="text-classification")


def test_a_model_and_rows_in_memory(tmp_path: Path) -> None:
    model = AutoModelForSequenceClassification.from_pretrained(save_bert_classifier(tmp_path / "model"))
    result = estimate(model, Dataset.from_list(labelled(20)), "importance", tokenizer=make_bert_tokenizer(), **SHORT)
    assert (result.dataset.task, result.dataset.text_column, result.settings.n) == ("text-classification", "text", 20)
    assert result.dataset.label_column == "label"


def test_a_model_whose_scores_depend_on_padding_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = save_bert_classifier(tmp_path / "model")
    corpus = outcome(model, write_rows(tmp_path / "rows.jsonl", labelled(8)))
    network = TASKS["text-classification"].load_model(find_model(ModelSettings(model=str(model))), "cpu", 1)
    forward = network.forward
    monkeypatch.setattr(
        network, "forward", lambda input_ids, attention_mask, **more: forward(input_ids=input_ids, **more)
    )
    with pytest.raises(UnusableError, match="gives a text other scores when it is padded"):
        TASKS["text-classification"].refuse(network, TASKS["text-classification"].load_items(corpus))


def trained(folder: Path, steps: int) -> Path:
    """A BERT trained for that many steps on the first word of texts, without dropout, as its loss is measured."""
    save_bert_classifier(folder)
    network = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    tokenizer, rows = AutoTokenizer.from_pretrained(folder), rows_to_learn()
    inputs = tokenizer([row["text"] for row in rows], padding=True, return_tensors="pt")
    labels = torch.tensor([row["label"] for row in rows])
    optimizer = torch.optim.Adam(network.parameters(), lr=3e-3)
    for _ in range(steps):
        optimizer.zero_grad()
        functional.cross_entropy(network(**inputs).logits, labels).backward()
        optimizer.step()
    network.save_pretrained(folder)
    return folder


def rows_to_learn() -> list[dict[str, Any]]:
    """Texts with a class that can be told but for a tenth of them."""
    rows = labelled(60)
    return [
        {"text": f"{'river' if row['label'] else 'heron'} {row['text']}", "label": row["label"] if n % 10 else 0}
        for n, row in enumerate(rows)
    ]


def test_an_estimate_by_draws_and_by_chains_goes_on_and_names_its_task(tmp_path: Path) -> None:
    for step in (20, 40):
        trained(tmp_path / f"run/checkpoint-{step}", step)
    data = write_rows(tmp_path / "rows.jsonl", rows_to_learn())
    result = estimate(tmp_path / "run/checkpoint-40", data, "importance", **{**SHORT, "draws": 100})
    again = estimate(tmp_path / "run/checkpoint-40", data, "importance", **{**SHORT, "draws": 100})
    assert result.llc is not None
    assert result.llc > 0
    # Nothing is sampled again.
    assert (again.llc, again.seconds["sampling"]) == (result.llc, result.seconds["sampling"])
    assert (result.dataset.task, result.dataset.unit) == ("text-classification", "nats per text")
    assert result.init_loss < 0.6
    chains = estimate(tmp_path / "run/checkpoint-40", data, "sgld-lm", burn_in=30, **SHORT)
    assert chains.llc is not None
    assert chains.llc == pytest.approx(result.llc, rel=0.5)
    curve = scan(tmp_path / "run", data, "sgld-lm", num_processes=1, burn_in=5, **SHORT)
    assert curve is not None
    assert [point.step for point in curve] == [20, 40]
    assert all(point.llc is not None for point in curve)
    (published,) = model_entries("tiny", [curve.points[-1]]).results
    assert published["task"] == {"type": "text-classification", "name": "Text Classification"}


def test_a_text_is_named_by_its_own_beginning_in_whatever_order_they_are(tmp_path: Path) -> None:
    model, rows = save_bert_classifier(tmp_path / "model"), labelled(30)
    corpus = outcome(model, write_rows(tmp_path / "rows.jsonl", rows), context_length=10)
    task, tokenizer = TASKS["text-classification"], AutoTokenizer.from_pretrained(model)
    assert isinstance(task, Readable)
    names = task.labels(corpus, find_model(ModelSettings(model=str(model))), [(item, None) for item in (7, 3)])
    items = task.load_items(corpus)
    for item, name in zip((7, 3), names, strict=True):
        length = int(items["lengths"][item])
        assert tokenizer(name).input_ids == items["input_ids"][item, :length].tolist()
        assert "[CLS]" not in name
