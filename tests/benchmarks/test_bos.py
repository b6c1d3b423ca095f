"""A tiny Gemma that was trained with BOS at the beginning of each sequence, on sequences with it and without it."""

import json
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from torch import Tensor
from torch.nn import functional
from transformers import GemmaConfig, GemmaForCausalLM, PreTrainedTokenizerFast

from hf_llc import DataSettings, Estimate, ModelSettings, estimate
from hf_llc.checkpoints.resolve import find_model
from hf_llc.scans.demo import prose
from hf_llc.tasks.text_generation.prepare import find_corpus, load_tokens

VOCABULARY, CONTEXT, STEPS, BATCH = 1024, 64, 600, 16
SHORT: dict[str, Any] = {"n_beta": 100.0, "gamma": 1000.0, "seed": 0}


def make_tokenizer(texts: list[str]) -> PreTrainedTokenizerFast:
    """A byte-level BPE that puts <bos> before a text, as Gemma's does."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=["<eos>", "<bos>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(single="<bos> $A", special_tokens=[("<bos>", 1)])
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<eos>", bos_token="<bos>")
    assert isinstance(fast, PreTrainedTokenizerFast)
    return fast


def train(model: GemmaForCausalLM, tokens: Tensor) -> None:
    """Adam on these sequences."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3, weight_decay=0.01)
    stream = torch.Generator().manual_seed(0)
    for step in range(STEPS):
        rows = tokens[torch.randint(len(tokens), (BATCH,), generator=stream)].long()
        for group in optimizer.param_groups:
            group["lr"] = 3e-3 * min(1.0, (step + 1) / 50) * (1.0 - 0.9 * step / STEPS)
        optimizer.zero_grad()
        model(input_ids=rows, labels=rows).loss.backward()
        optimizer.step()


def test_a_model_that_was_trained_with_bos_has_its_loss_with_it(tmp_path: Path) -> None:
    texts = prose()
    data, folder = tmp_path / "text.jsonl", tmp_path / "gemma"
    data.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts), encoding="utf-8")
    config = GemmaConfig(
        vocab_size=VOCABULARY, hidden_size=96, num_hidden_layers=3, num_attention_heads=4, num_key_value_heads=4,
        head_dim=24, intermediate_size=384, max_position_embeddings=CONTEXT, eos_token_id=0, bos_token_id=1,
        pad_token_id=0,
    )  # fmt: skip
    torch.manual_seed(0)
    model: Any = GemmaForCausalLM(config)
    make_tokenizer(texts).save_pretrained(folder)
    model.save_pretrained(folder)
    settings = {"dataset": str(data), "context_length": CONTEXT, "max_sequences": 0}
    tokens = load_tokens(find_corpus(DataSettings(**settings), find_model(ModelSettings(model=str(folder)))))  # type: ignore[arg-type]
    train(model, tokens)
    model.eval().save_pretrained(folder)

    def estimated(bos: str) -> Estimate:
        return estimate(
            folder, data, bos=bos, context_length=CONTEXT, max_sequences=1024, output_dir=tmp_path / bos, **SHORT
        )

    results = {bos: estimated(bos) for bos in ("auto", "never")}
    print(f"\n{sum(each.numel() for each in model.parameters()):,} weights, {len(tokens)} sequences, {STEPS} steps")
    for bos, each in results.items():
        number = f"λ̂ = {each.llc:.4g} ± {each.stderr:.2g}, {each.verdict}"
        print(f"bos {bos}: loss {each.init_loss:.4f} nats per token, {number}")
    alone = same_tokens(model, tokens[:1024, 1:], tokens[:1024])
    print(f"the same tokens, all but the first: {alone[1]:.4f} nats behind <bos>, {alone[0]:.4f} without it")
    assert alone[0] > alone[1] + 0.01
    assert results["never"].dataset.fingerprint != results["auto"].dataset.fingerprint


def same_tokens(model: Any, without: Tensor, with_bos: Tensor) -> list[float]:
    """The mean loss of the text's tokens but its first one, in sequences without BOS and with it."""
    losses = []
    for rows, first in ((without.long(), 0), (with_bos.long(), 1)):
        with torch.no_grad():
            logits = torch.cat([model(input_ids=part).logits for part in rows.split(64)])
        losses.append(
            float(functional.cross_entropy(logits[:, first:-1].flatten(0, 1), rows[:, first + 1 :].flatten()))
        )
    return losses
