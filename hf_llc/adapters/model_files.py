"""Which files of a repository or folder make a causal language model, judged by their names alone."""

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from hf_llc.errors import NotFoundError, UnusableError
from hf_llc.references import nearest

_SMALL = re.compile(
    r"config\.json|generation_config\.json|preprocessor_config\.json"
    r"|tokenizer.*\.(json|model)|special_tokens_map\.json|added_tokens\.json|chat_template\.jinja"
    r"|vocab\..*|merges\.txt|.*\.tiktoken|spiece\.model|sentencepiece.*\.model"
)
_SHARD = re.compile(r"model-\d+-of-\d+\.safetensors")
_BIN_SHARD = re.compile(r"pytorch_model-\d+-of-\d+\.bin")
_DEEPER = re.compile(r"/(model|pytorch_model).*\.(safetensors|bin)$")
_FOREIGN = ("tf_model.h5", "flax_model.msgpack", "model.ckpt.index", "rust_model.ot")
_TOKENIZER = re.compile(
    r"tokenizer\.(json|model)|vocab\..*|merges\.txt|.*\.tiktoken|spiece\.model|sentencepiece.*\.model"
)
_RAW = (
    ("Megatron shards", re.compile(r"(^|/)mp_rank_\d+(_\d+)*/|(^|/)(model_optim_rng|distrib_optim)\.pt$")),
    ("DeepSpeed shards", re.compile(r"_model_states\.pt$|(^|/)(bf16_)?zero_pp_rank_\d+.*\.pt$")),
    ("a distributed PyTorch checkpoint", re.compile(r"\.distcp$")),
    ("Llama's own shards", re.compile(r"(^|/)consolidated.*\.(pth|safetensors)$")),
    ("an Orbax checkpoint", re.compile(r"(^|/)_CHECKPOINT_METADATA$")),
    ("a TensorFlow checkpoint", re.compile(r"\.ckpt.*\.index$")),
)
"""What trainers leave that transformers cannot load, by names of files at any depth."""


@dataclass(frozen=True, kw_only=True)
class ModelFiles:
    """Names, sorted: `small` are config, tokenizer, shard index and code; `weights` are the rest."""

    small: list[str]
    weights: list[str]


def inside(names: Iterable[str], subfolder: str | None) -> list[str]:
    """The names below a folder, without it; all of them for None."""
    prefix = f"{subfolder}/" if subfolder else ""
    return [name.removeprefix(prefix) for name in names if name.startswith(prefix)]


def has_tokenizer(names: Iterable[str]) -> bool:
    """True if a tokenizer is among them, at the top."""
    return any(_TOKENIZER.fullmatch(name) for name in names)


def raw_format(names: Iterable[str]) -> str | None:
    """What a trainer of another library left here, as the middle of a sentence; None if nothing known is here."""
    known = list(names)
    return next((words for words, pattern in _RAW if any(pattern.search(name) for name in known)), None)


def choose(names: Iterable[str], *, gguf_file: str | None = None, trust_remote_code: bool = False) -> ModelFiles:
    """What to read of all `names`: one format of weights, and nothing of an optimizer, an adapter or a subfolder.

    Safetensors win over `pytorch_model.bin`, which is pickle and may run code. `weights` is empty if there are none.

    Raises:
        NotFoundError: there is no such `gguf_file`.
    """
    known = set(names)
    top = {name for name in known if "/" not in name}
    small = {name for name in top if _SMALL.fullmatch(name)}
    if trust_remote_code:
        small |= {name for name in known if name.endswith(".py")}
    if gguf_file is not None:
        if gguf_file not in known:
            there = sorted(name for name in known if name.endswith(".gguf"))
            raise NotFoundError(f"There is no {gguf_file} here{nearest(gguf_file, there)} Choose with --gguf-file.")
        return ModelFiles(small=sorted(small), weights=[gguf_file])
    for single, index, shard in (
        ("model.safetensors", "model.safetensors.index.json", _SHARD),
        ("pytorch_model.bin", "pytorch_model.bin.index.json", _BIN_SHARD),
    ):
        if single in top:
            return ModelFiles(small=sorted(small), weights=[single])
        if index in top and (shards := sorted(name for name in top if shard.fullmatch(name))):
            return ModelFiles(small=sorted({*small, index}), weights=shards)
    return ModelFiles(small=sorted(small), weights=[])


def refuse_unusable(what: str, names: Iterable[str], chosen: ModelFiles, others: Sequence[str] = ()) -> None:
    """Nothing, if `chosen` can be a model.

    Args:
        what: the model in the user's words, for the message. others: revisions that may have weights.

    Raises:
        UnusableError: no weights, or no config beside them; the message says what the files are instead.
    """
    known = sorted(names)
    top = {name for name in known if "/" not in name}
    if chosen.weights and (chosen.weights[0].endswith(".gguf") or "config.json" in top):
        return
    if chosen.weights:
        raise UnusableError(f"{what} has weights but no config.json; it is not a transformers model.")
    if "adapter_config.json" in top:
        raise UnusableError(f"{what} is an adapter; merge it into its base model, save the whole, and name that.")
    if gguf := [name for name in known if name.endswith(".gguf")]:
        raise UnusableError(f"{what} has only GGUF weights; choose a file with --gguf-file: {', '.join(gguf[:6])}.")
    if raw := raw_format(known):
        raise UnusableError(
            f"{what} holds {raw}, which transformers cannot load; convert it to model.safetensors beside a config.json."
        )
    if foreign := top.intersection(_FOREIGN):
        raise UnusableError(f"{what} has only {min(foreign)}; PyTorch weights (model.safetensors) are needed.")
    if "model_index.json" in top:
        raise UnusableError(f"{what} is a diffusion pipeline, not a causal language model.")
    deeper = sorted({name.rpartition("/")[0] for name in known if _DEEPER.search(name)})
    hint = f" There are some in {', '.join(deeper[:4])}: `hf download` one and name that folder." if deeper else ""
    if others:
        hint += f" Revisions: {', '.join(others[:6])}{', …' if len(others) > 6 else ''}; choose with --revision."
    raise UnusableError(f"{what} has no weights (model.safetensors or pytorch_model.bin).{hint}")


def refuse_damaged(folder: Path) -> None:
    """Nothing, if every shard that the index names is there and every safetensors file is as long as its header says.

    Raises:
        UnusableError: naming the file.
    """
    index = folder / "model.safetensors.index.json"
    shards = [folder / "model.safetensors"]
    if not shards[0].is_file():
        try:
            weight_map = json.loads(index.read_text(encoding="utf-8"))["weight_map"]
            shards = sorted({folder / name for name in weight_map.values()})
        except FileNotFoundError:
            return
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise UnusableError(f"{index} is damaged; delete it and get the model again.") from error
    for shard in shards:
        if not shard.is_file():
            raise UnusableError(f"{shard}, a part of the weights, is missing; get the model again.")
        if not _is_whole(shard):
            raise UnusableError(
                f"{shard} is damaged (cut short, or not safetensors); delete it and get the model again."
            )


def _is_whole(path: Path) -> bool:
    """True if the file ends where its safetensors header says that the last tensor does."""
    size = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if size < 8 + length:
            return False
        try:
            header = json.loads(file.read(length))
            ends = [entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__"]
        except (ValueError, KeyError, TypeError, AttributeError):
            return False
    return size == 8 + length + max(ends, default=0)
