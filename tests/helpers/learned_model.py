"""A tiny model that has learned its text, so that no direction of its loss leads far down, and settings for it."""

from pathlib import Path

import torch

from hf_llc import SamplerSettings
from hf_llc.execution.loaded_model import computing
from tests.helpers.tiny_model import CONTEXT, jsonl, make_model, make_tokenizer, sentences

DOCUMENTS = 120
SEQUENCES = 50
"""Into which the text packs."""
WEIGHTS = 5_688
BY_DRAWS = SamplerSettings(sampler="importance", gamma=1000.0, n_beta=30.0, batch_size=8, threads=1)
"""At these λ̂ is 3.2, of which curvature has taken 0.5 and slope 0.25, and the prior holds the weights."""
OPTIONS = ("--sampler", "importance", "--gamma", 1000, "--n-beta", 30, "--batch-size", 8, "--threads", 1)
"""The same on the command line."""


def save_learned_model(folder: Path, text: Path) -> Path:
    """`folder`, in which now is a model of 5,688 weights after 150 steps of Adam (1.5 seconds) on what `text`, a .jsonl
    file, now holds."""
    text.write_text(jsonl(DOCUMENTS))
    model, tokenizer = make_model(hidden=8), make_tokenizer()
    ids = [token for line in sentences(DOCUMENTS) for token in [*tokenizer(line)["input_ids"], 0]]
    rows = torch.tensor(ids[: len(ids) // CONTEXT * CONTEXT]).view(-1, CONTEXT)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
    generator = torch.Generator().manual_seed(0)
    with computing(1):
        for _ in range(150):
            batch = rows[torch.randperm(len(rows), generator=generator)[:16]]
            optimizer.zero_grad()
            model(input_ids=batch, labels=batch).loss.backward()
            optimizer.step()
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
