"""Which files of a repository or folder make a causal language model, judged by their names and the shard index."""

import json
import re
from collections.abc import Callable, Iterable, Sequence, Set
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import NoReturn

from hf_llc.errors import NotFoundError, UnusableError, did_you_mean

_SMALL = re.compile(
    r"config\.json|generation_config\.json|preprocessor_config\.json"
    r"|tokenizer.*\.(json|model)|special_tokens_map\.json|added_tokens\.json|chat_template\.jinja"
    r"|vocab\..*|merges\.txt|.*\.tiktoken|spiece\.model|sentencepiece.*\.model"
)
_SHARD = re.compile(r"model-\d+-of-(\d+)\.safetensors")
_BIN_SHARD = re.compile(r"pytorch_model-\d+-of-(\d+)\.bin")
_DEEPER = re.compile(r"/(model|pytorch_model|adapter_model).*\.(safetensors|bin)$")
_FOREIGN = ("tf_model.h5", "flax_model.msgpack", "model.ckpt.index", "rust_model.ot")
ADAPTER_CONFIG, ADAPTER_WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
CONFIGS = ("config.json", ADAPTER_CONFIG)
"""Files one of which is in every folder that can be loaded."""
_ADAPTER = (ADAPTER_CONFIG, ADAPTER_WEIGHTS, "adapter_model.bin", "pytorch_adapter.bin")
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

    @property
    def is_adapter(self) -> bool:
        """True for weights that change those of another model."""
        return self.weights == [ADAPTER_WEIGHTS]

    @property
    def deciding(self) -> list[str]:
        """Names of the files by whose content copies of one checkpoint are known.

        Of an adapter the same weights may be scaled in another way, or be for another base.
        """
        return [ADAPTER_CONFIG, *self.weights] if self.is_adapter else self.weights


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
    return next((description for description, pattern in _RAW if any(pattern.search(name) for name in known)), None)


def choose(
    names: Iterable[str],
    *,
    gguf_file: str | None = None,
    trust_remote_code: bool = False,
    read: Callable[[str], bytes] | None = None,
) -> ModelFiles:
    """What to read of all `names`: one format of weights, and nothing of an optimizer or a subfolder.

    Safetensors win over `pytorch_model.bin`, which is pickle and may run code. An adapter is read where there are no
    weights of a whole model. `weights` is empty if there are none.

    Args:
        read: gives the content of the shard index, which says what is loaded. Without it the shards are guessed by
            their usual names, which is good enough for a list of checkpoints.

    Raises:
        NotFoundError: there is no such `gguf_file`.
        UnusableError: the shard index is damaged, or names files that are missing or outside the folder.
    """
    known = set(names)
    top = {name for name in known if "/" not in name}
    small = {name for name in top if _SMALL.fullmatch(name)}
    if trust_remote_code:
        small |= {name for name in known if name.endswith(".py")}
    if gguf_file is not None:
        if gguf_file not in known:
            gguf_files = sorted(name for name in known if name.endswith(".gguf"))
            raise NotFoundError(
                f"No file {gguf_file} in this repository or folder{did_you_mean(gguf_file, gguf_files)} "
                "Choose with `gguf_file`."
            )
        return ModelFiles(small=sorted(small), weights=[gguf_file])
    for single, shard in (("model.safetensors", _SHARD), ("pytorch_model.bin", _BIN_SHARD)):
        index = f"{single}.index.json"
        if single in top:
            return ModelFiles(small=sorted(small), weights=[single])
        if index not in top:
            continue
        if read is not None:
            shards = _present(index, shards_of(index, read(index)), known)
        else:
            ending = PurePosixPath(single).suffix
            likely = [name for name in top if name.endswith(ending) and "adapter" not in name]
            shards = _usual(top, shard) or sorted(likely)
        if shards:
            return ModelFiles(small=sorted({*small, index}), weights=shards)
    if {ADAPTER_CONFIG, ADAPTER_WEIGHTS} <= top:
        return ModelFiles(small=sorted({*small, ADAPTER_CONFIG}), weights=[ADAPTER_WEIGHTS])
    return ModelFiles(small=sorted(small), weights=[])


def shards_of(index: str, content: bytes) -> list[str]:
    """The files that a shard index names, sorted; `index` is its own name.

    Raises:
        UnusableError: it is damaged, or names something other than files of its format below its own folder.
    """
    ending = PurePosixPath(index.removesuffix(".index.json")).suffix
    try:
        shards = {str(name) for name in json.loads(content)["weight_map"].values()}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise UnusableError(f"{index} is damaged; delete it and download the model again.") from error
    for name in sorted(shards):
        if not is_inside(name):
            raise UnusableError(
                f"{index} names {name!r}, which is outside its folder; put every shard beside the index."
            )
        if not name.endswith(ending):
            raise UnusableError(f"{index} names {name!r}, which is not a {ending} file; download the model again.")
    return sorted(shards)


def is_partial(weights: Sequence[str]) -> bool:
    """True if these are shards that count themselves, and not as many as they say."""
    counts = {
        int(match[1]) for name in weights for match in [_SHARD.fullmatch(name) or _BIN_SHARD.fullmatch(name)] if match
    }
    return bool(counts) and len(weights) not in counts


def _usual(names: Iterable[str], shard: re.Pattern[str]) -> list[str]:
    """The files that are named like shards, sorted: one complete set of them if there is one."""
    sets: dict[str, list[str]] = {}
    for name in sorted(names):
        if match := shard.fullmatch(name):
            sets.setdefault(match[1], []).append(name)
    whole = [shards for count, shards in sets.items() if len(shards) == int(count)]
    return whole[0] if whole else sorted(name for shards in sets.values() for name in shards)


def is_inside(name: str) -> bool:
    """True for the name of a file below the folder that it is given in, on any system."""
    parts = name.replace("\\", "/").split("/")
    return bool(name) and not set(parts) & {"", ".", ".."} and "\0" not in name


def _present(index: str, shards: Sequence[str], known: set[str]) -> list[str]:
    """The shards if all of them exist, an empty list if none does.

    Raises:
        UnusableError: some are there and others are not.
    """
    missing = [name for name in shards if name not in known]
    if len(missing) == len(shards):
        return []
    if missing:
        raise UnusableError(
            f"{missing[0]}, a part of the weights that {index} names, is missing; download the model again."
        )
    return list(shards)


def _refuse_adapter(what: str, top: Set[str]) -> NoReturn:
    """Raise UnusableError for an adapter whose files are not all there, or are pickled."""
    if ADAPTER_WEIGHTS in top:
        raise UnusableError(
            f"{what} has {ADAPTER_WEIGHTS} but no {ADAPTER_CONFIG}, which says what it is; save it with "
            "`save_pretrained` of peft."
        )
    if pickled := sorted(name for name in _ADAPTER if name in top and name.endswith(".bin")):
        raise UnusableError(
            f"{what} is an adapter in {pickled[0]}, a pickle, which may run code and is never loaded; load it with "
            f"peft if you trust it, and save it again (`save_pretrained`) as {ADAPTER_WEIGHTS}."
        )
    raise UnusableError(f"{what} has {ADAPTER_CONFIG} but no {ADAPTER_WEIGHTS}; save the adapter with its weights.")


def refuse_unusable(what: str, names: Iterable[str], chosen: ModelFiles, others: Sequence[str] = ()) -> None:
    """Raise UnusableError unless `chosen` can be a model.

    Args:
        what: the model in the user's words, for the message. others: revisions that may have weights.

    Raises:
        UnusableError: no weights, no config beside them, or both a whole model and an adapter; the message says what
            the files are instead.
    """
    known = sorted(names)
    top = {name for name in known if "/" not in name}
    if chosen.weights and chosen.weights[0].endswith(".gguf"):
        return
    if chosen.is_adapter:
        return
    if chosen.weights and (adapter := sorted(top.intersection(_ADAPTER))):
        raise UnusableError(
            f"{what} holds an adapter ({adapter[0]}) beside a whole model ({chosen.weights[0]}), and an estimate could "
            "be of either; name a copy with the files of one of them."
        )
    if chosen.weights and "config.json" in top:
        return
    if chosen.weights:
        raise UnusableError(f"{what} has weights but no config.json; it is not a transformers model.")
    if top.intersection(_ADAPTER):
        _refuse_adapter(what, top)
    if gguf := [name for name in known if name.endswith(".gguf")]:
        raise UnusableError(f"{what} has only GGUF weights; choose a file with `gguf_file`: {', '.join(gguf[:6])}.")
    if raw := raw_format(known):
        raise UnusableError(
            f"{what} holds {raw}, which transformers cannot load; convert it to model.safetensors beside a config.json."
        )
    if foreign := top.intersection(_FOREIGN):
        raise UnusableError(f"{what} has only {min(foreign)}; PyTorch weights (model.safetensors) are needed.")
    if "model_index.json" in top:
        raise UnusableError(f"{what} is a diffusion pipeline, not a causal language model.")
    deeper = sorted({name.rpartition("/")[0] for name in known if _DEEPER.search(name)})
    hint = f" Its folders {', '.join(deeper[:4])} have some: choose one with `subfolder`." if deeper else ""
    if others:
        hint += f" Revisions: {', '.join(others[:6])}{', …' if len(others) > 6 else ''}; choose with `revision`."
    raise UnusableError(f"{what} has no weights (model.safetensors or pytorch_model.bin).{hint}")
