"""What a checkpoint's config.json says, read with care, and which kinds of model it rules out (transformers)."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transformers import AutoConfig, AutoModelForCausalLM, PretrainedConfig

from hf_llc.checkpoints.loading.errors import explained, quiet
from hf_llc.checkpoints.source import ModelSource
from hf_llc.errors import UnusableError
from hf_llc.settings.bounds import shown

# A head that was trained for something else; with tied embeddings transformers would load such a model without a word.
_OTHER_HEAD = re.compile(
    r"For(MaskedLM|PreTraining|(Sequence|Token|Image|Audio|Video)\w*Classification|QuestionAnswering"
    r"|MultipleChoice|NextSentencePrediction|RewardModel|Embedding|(ZeroShot)?ObjectDetection|\w*Segmentation"
    r"|DepthEstimation|MaskedImageModeling)$"
)


@dataclass(frozen=True, kw_only=True)
class Kind:
    """A kind of model that transformers has a class for.

    Attributes:
        auto: the class that loads it. name: what such a model is called in messages.
        heads: what the class names of such models match, as config.json lists them; None for all but those of others.
        unused: names of weights that may be in the files and decide nothing about the loss; None for none.
    """

    auto: Any
    name: str
    heads: re.Pattern[str] | None = None
    unused: re.Pattern[str] | None = None


CAUSAL = Kind(auto=AutoModelForCausalLM, name="causal language model")
"""Next-token prediction."""
_COUNTS = re.compile(
    r"(num|n|moe_num)_(\w+_)?(layers?|blocks?|experts?|heads?|stages?)|(de|en)coder_layers|(de|en)coder_attention_heads"
)
"""Entries that say how many parts of a kind there are, each of which has weights of its own."""
BYTES_PER_PART = 64
"""What a layer, an expert or a head takes on disk at the very least, its name included."""
FEW_PARTS = 1_000
"""Such counts are never refused: a model of so many parts is built in seconds."""
PARTS = 1_000_000
"""The limit of such counts where the size of the weights is not known."""
WEIGHTS_PER_BYTE = 8
"""No format stores so many weights in a byte."""


def folder_of(source: ModelSource) -> Path:
    """The folder that transformers loads the checkpoint from.

    Raises:
        UnusableError: the checkpoint has not been downloaded.
    """
    if source.path is None:
        raise UnusableError(f"{source.id} has not been downloaded.")
    return source.path / (source.subfolder or "")


def loading_options(source: ModelSource) -> dict[str, Any]:
    """Keyword arguments that every `from_pretrained` of transformers gets for this checkpoint."""
    # A GGUF file that is still to be downloaded cannot be asked, but there may be a config.json beside it.
    is_local = source.gguf_file is not None and (folder_of(source) / source.gguf_file).is_file()
    gguf = {"gguf_file": source.gguf_file} if is_local else {}
    code = {"code_revision": _code_revision(source.code)} if source.code is not None else {}
    return {"local_files_only": True, "trust_remote_code": source.trust_remote_code, **code, **gguf}


def building_options(source: ModelSource, config: PretrainedConfig, kind: Kind = CAUSAL) -> dict[str, Any]:
    """Keyword arguments that every `from_config` of transformers gets for this checkpoint."""
    options: dict[str, Any] = {"trust_remote_code": source.trust_remote_code}
    # Once a class of the code has been built, transformers knows it by that of the config, and takes no revision.
    if source.code is not None and type(config) not in kind.auto._model_mapping:
        options["code_revision"] = _code_revision(source.code)
    return options


def _code_revision(code: str) -> str:
    return code.rpartition("@")[2]


def read_config(source: ModelSource) -> PretrainedConfig:
    """The checkpoint's config, of an adapter that of its base.

    Raises:
        UnusableError: it cannot be read, or describes more than the files of weights can hold.
    """
    source = source.whole
    options, what = loading_options(source), "its config.json"
    with explained(source, what):
        _refuse_absurd(source)
    if "gguf_file" in options:
        what = f"{source.gguf_file}; download it again if it was cut short"
    with quiet(), explained(source, what):
        config = AutoConfig.from_pretrained(folder_of(source), **options)
        assert isinstance(config, PretrainedConfig)
    if "flash" in str(config._attn_implementation):
        # It computes the same function, in 16 bits and on some devices only.
        config._attn_implementation = None
    return config


def refuse_other_kinds(source: ModelSource, config: PretrainedConfig, kind: Kind = CAUSAL) -> None:
    """Raise UnusableError if the config is not one of such a model with weights that can be moved.

    Args:
        source: the checkpoint, or an adapter whose base has this config.
    """
    source = source.whole
    names = config.architectures or []
    if not isinstance(names, list | tuple) or not all(isinstance(name, str) for name in names):
        raise UnusableError(
            f"{source.id}: architectures in its config.json must be a list of class names, got {shown(names)}."
        )
    if kind.heads is None:
        heads = [name for name in names if _OTHER_HEAD.search(name)]
    else:
        heads = [name for name in names if not kind.heads.search(name)]
    if heads:
        raise UnusableError(f"{source.id} is a {heads[0]}, not a {kind.name}; an LLC of its loss is not defined.")
    if config.is_encoder_decoder and kind is CAUSAL:
        raise UnusableError(f"{source.id} is an encoder-decoder; only decoder-only language models are supported.")
    if kind is not CAUSAL and source.gguf_file is not None:
        raise UnusableError(f"{source.id}: a GGUF file holds a causal language model, not a {kind.name}.")
    quantization = getattr(config, "quantization_config", None)
    if quantization is not None and source.gguf_file is None:
        method = quantization.get("quant_method") if isinstance(quantization, dict) else None
        raise UnusableError(
            f"{source.id} has quantised weights ({method or 'unknown method'}), which cannot be moved in "
            "small steps; name the full-precision model, or a GGUF file with `gguf_file`."
        )


def refuse_too_many(source: ModelSource, count: int) -> None:
    """Raise UnusableError if that many weights cannot be in the files, where their size is known."""
    if source.weight_bytes and count > WEIGHTS_PER_BYTE * source.weight_bytes:
        raise UnusableError(
            f"{source.id}: its config.json describes {count:,} weights, but its files of weights hold "
            f"{source.weight_bytes:,} bytes; they do not belong together."
        )


def _refuse_absurd(source: ModelSource) -> None:
    """Raise UnusableError for numbers that would keep transformers busy for ever; it builds before it compares."""
    path = folder_of(source) / "config.json"
    if not path.is_file():
        return
    content = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(content, dict):
        raise TypeError(f"it is a {type(content).__name__}, not an object")
    # A file that was cut short is refused for that, when it is read.
    limit = max(source.weight_bytes // BYTES_PER_PART, FEW_PARTS) if source.weight_bytes else PARTS
    for name, number in whole_numbers(content):
        if abs(number) >= 2**63:
            raise UnusableError(f"{source.id}: its config.json says {name} = {_clipped(number)}, which is too large.")
        if number > limit and _COUNTS.fullmatch(name):
            raise UnusableError(
                f"{source.id}: its config.json says {name} = {number}, more than its weights have room for "
                f"({source.weight_bytes or 'an unknown number of'} bytes)."
            )


def whole_numbers(value: Any, name: str = "") -> Iterator[tuple[str, int]]:
    """Every whole number inside, with the name of the entry that it is in."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from whole_numbers(inner, str(key))
    elif isinstance(value, list):
        for inner in value:
            yield from whole_numbers(inner, name)
    elif isinstance(value, int) and not isinstance(value, bool):
        yield name, value


def _clipped(number: int) -> str:
    digits = str(number)
    return digits if len(digits) <= 24 else f"{digits[:20]}… ({len(digits)} digits)"
