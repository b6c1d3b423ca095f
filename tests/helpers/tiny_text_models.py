"""Tiny models of text classification and of masked words, with tokenizers of their own, and labelled text."""

import json
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors, trainers
from transformers import (
    BertConfig,
    BertForMaskedLM,
    BertForSequenceClassification,
    GPTNeoXConfig,
    GPTNeoXForSequenceClassification,
    PreTrainedTokenizerFast,
)

from tests.helpers.tiny_model import CONTEXT, TEXT, VOCABULARY, make_tokenizer, sentences

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
NAMES = ("even", "odd")
"""Classes of the texts: whether their number is."""


def labelled(count: int) -> list[dict[str, Any]]:
    """Rows of `text`, of 5 to 11 words, and `label`, by turns 0 and 1."""
    return [{"text": text, "label": number % 2} for number, text in enumerate(sentences(count))]


def write_rows(path: Path, rows: list[dict[str, Any]]) -> Path:
    """The rows as JSON Lines at `path`, which is returned."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def make_bert_tokenizer() -> PreTrainedTokenizerFast:
    """Words as tokens, between [CLS] and [SEP]; a pair's second text has the type 1."""
    tokenizer = Tokenizer(models.WordLevel(unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.train_from_iterator([TEXT], trainers.WordLevelTrainer(special_tokens=SPECIAL, show_progress=False))
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", 2), ("[SEP]", 3)],
    )
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        mask_token="[MASK]",
        model_max_length=CONTEXT,
        model_input_names=["input_ids", "token_type_ids", "attention_mask"],
    )
    assert isinstance(fast, PreTrainedTokenizerFast)
    return fast


def bert_config(**changes: Any) -> BertConfig:
    """About 15 thousand weights, with dropout as BERT has it."""
    return BertConfig(
        vocab_size=64,
        hidden_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=CONTEXT,
        pad_token_id=0,
        **changes,
    )


def _redrawn(model: Any, seed: int) -> Any:
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.1)
    return model.eval()


def save_bert_classifier(folder: Path, seed: int = 0, **changes: Any) -> Path:
    """`folder`, with a BERT that tells `NAMES` apart, and its tokenizer."""
    changes = {"id2label": dict(enumerate(NAMES)), "label2id": {n: i for i, n in enumerate(NAMES)}, **changes}
    _redrawn(BertForSequenceClassification(bert_config(**changes)), seed).save_pretrained(folder)
    make_bert_tokenizer().save_pretrained(folder)
    return folder


def save_masked_bert(folder: Path, seed: int = 0) -> Path:
    """`folder`, with a BERT that predicts masked words, and its tokenizer."""
    _redrawn(BertForMaskedLM(bert_config()), seed).save_pretrained(folder)
    make_bert_tokenizer().save_pretrained(folder)
    return folder


def save_neox_classifier(folder: Path, seed: int = 0, **changes: Any) -> Path:
    """`folder`, with a GPT-NeoX that scores the last token of a text and knows no padding, and its tokenizer."""
    config = GPTNeoXConfig(
        vocab_size=VOCABULARY,
        hidden_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=CONTEXT,
        bos_token_id=0,
        eos_token_id=0,
        **changes,
    )
    _redrawn(GPTNeoXForSequenceClassification(config), seed).save_pretrained(folder)
    make_tokenizer().save_pretrained(folder)
    return folder
