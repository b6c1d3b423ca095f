"""A tiny GPT-NeoX with its own tokenizer, saved to a folder: the same bytes for the same arguments."""

import json
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import GPTNeoXConfig, GPTNeoXForCausalLM, PreTrainedTokenizerFast

VOCABULARY = 300
CONTEXT = 64
EOS = "<|endoftext|>"
WEIGHTS = 31_968
"""Of the tiny model."""

TEXT = (
    "the river runs below the old stone bridge while a grey heron waits in the reeds and nobody on the road above "
    "looks down at it because the market opens at eight every morning except on sunday when bells ring over the town"
)


def sentences(count: int, *, first: int = 0) -> list[str]:
    """`count` different short documents; `first` starts the numbering elsewhere."""
    arguments = TEXT.split()
    return [
        " ".join(arguments[(n * k + n + k) % len(arguments)] for k in range(5 + n % 7)) + f" {n}."
        for n in range(first, first + count)
    ]


def jsonl(count: int) -> str:
    """The content of a JSON Lines file of that many documents, in the column `text`."""
    return "".join(json.dumps({"text": line}) + "\n" for line in sentences(count))


def make_tokenizer() -> PreTrainedTokenizerFast:
    """A byte-level BPE of 300 ids, trained here in a few milliseconds; id 0 ends a text."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=[EOS],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(sentences(200), trainer)
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token=EOS, model_max_length=CONTEXT)
    assert isinstance(fast, PreTrainedTokenizerFast)
    return fast


def make_model(seed: int = 0, *, hidden: int = 32, layers: int = 1, std: float = 0.1) -> GPTNeoXForCausalLM:
    """About 32 thousand float32 weights in eval mode, drawn from N(0, std²) with a generator of their own."""
    config = GPTNeoXConfig(
        vocab_size=VOCABULARY,
        hidden_size=hidden,
        num_hidden_layers=layers,
        num_attention_heads=2,
        intermediate_size=4 * hidden,
        max_position_embeddings=CONTEXT,
        bos_token_id=0,
        eos_token_id=0,
    )
    with torch.random.fork_rng(devices=[]):
        model = GPTNeoXForCausalLM(config)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "norm" not in name and not name.endswith("bias"):
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * std)
    model.train(False)
    return model


def save_tiny_model(folder: Path, seed: int = 0, *, hidden: int = 32, layers: int = 1, tokenizer: bool = True) -> Path:
    """`folder`, in which `from_pretrained` now finds the model of that seed and, unless left out, its tokenizer."""
    make_model(seed, hidden=hidden, layers=layers).save_pretrained(folder)
    if tokenizer:
        make_tokenizer().save_pretrained(folder)
    return folder


def save_neighbours(folder: Path) -> None:
    """Two models in `folder`, `a` and `b`, whose weights differ by 0.002 on average."""
    for name, scale in (("a", 0.0), ("b", 0.002)):
        model = make_model()
        stream = torch.Generator().manual_seed(1)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(torch.randn(parameter.shape, generator=stream), alpha=scale)
        model.save_pretrained(folder / name)
        make_tokenizer().save_pretrained(folder / name)


def read_files(folder: Path) -> dict[str, bytes]:
    """Relative name to content of every file below `folder`: what a Hub repository is made from."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}
