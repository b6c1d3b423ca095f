"""Checkpoints as PyTorch modules, their tokenizers and what their configs say (transformers)."""

import hashlib
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, PretrainedConfig, PreTrainedTokenizerBase

from hf_llc.adapters.checkpoint_errors import explained, quiet
from hf_llc.adapters.layers import spread_over
from hf_llc.adapters.model_files import has_tokenizer, refuse_damaged
from hf_llc.errors import UnusableError
from hf_llc.inputs import ModelSource

# A head that was trained for something else; with tied embeddings transformers would load such a model without a word.
_OTHER_HEAD = re.compile(
    r"For(MaskedLM|PreTraining|(Sequence|Token|Image|Audio|Video)\w*Classification|QuestionAnswering"
    r"|MultipleChoice|NextSentencePrediction|RewardModel|Embedding)$"
)
_CONTEXT_NAMES = (
    "max_position_embeddings", "n_positions", "seq_length", "max_seq_len", "max_seq_length", "n_ctx",
    "max_target_positions",
)  # fmt: skip
_BORDER = re.compile(r"\w(?= \w)")
BATCH_CHARACTERS = 1_000_000  # bounds the memory of one call of the tokenizer
CAUSALITY_TOLERANCE = {torch.float32: 1e-3, torch.float64: 1e-6}  # of the largest logit; coarser types: 0.03


def load_model(
    source: ModelSource, device: str, dtype: torch.dtype = torch.float32, devices: int = 1
) -> torch.nn.Module:
    """The causal language model in eval mode, with every weight read from the checkpoint and no cache of keys.

    Args:
        devices: processes over which FSDP2 spreads it, all that there are in the process group, each of which calls
            this and reads its own rows of the weights.

    Raises:
        UnusableError: not a causal language model, weights missing or damaged, or code of its own not allowed.
        ResourceError: it does not fit in memory.
    """
    config = _config(source)
    _refuse_other_kinds(source, config)
    if getattr(config, "rescale_every", 0):
        # RWKV would divide some of its weights, for 16 bits, at the first look at it; w* is what the checkpoint says.
        config.rescale_every = 0
    if source.gguf_file is None:
        refuse_damaged(_folder(source))
    options: dict[str, Any] = {}
    if source.gguf_file is not None:
        # Otherwise the model stays marked as quantised after its weights have been unpacked.
        options["quantization_config"] = transformers.GgufConfig(dequantize=True)
    if devices > 1:
        options["distributed_config"] = spread_over(devices, source, config)
    with quiet(), explained(source):
        loaded: Any = AutoModelForCausalLM.from_pretrained(
            _folder(source), config=config, **_common(source), **options, dtype=dtype, output_loading_info=True
        )
    model, info = loaded
    if missing := sorted(info["missing_keys"]):
        more = f" and {len(missing) - 3} more" if len(missing) > 3 else ""
        raise UnusableError(
            f"{source.id} has no weights for {', '.join(missing[:3])}{more}; transformers would fill them with noise, "
            "and an LLC of noise says nothing. Name a checkpoint of the whole causal language model."
        )
    with explained(source):
        model = model.eval() if devices > 1 else model.to(device).eval()
    if devices > 1:
        # By default the outermost layers stay whole after a forward pass, and would not see the weights move.
        model.set_reshard_after_forward(True)
    for part in (model.config, model.config.get_text_config()):
        part.use_cache = False
    _keep_constants(source, config, model)
    _give_padding_a_gradient(model)
    _refuse_if_not_causal(source, model)
    assert isinstance(model, torch.nn.Module)
    return model


def load_tokenizer(source: ModelSource) -> PreTrainedTokenizerBase:
    """The checkpoint's tokenizer; that of the folder above, if its own folder is a subfolder without one.

    Raises:
        UnusableError: it has none that transformers can read.
    """
    with quiet(), explained(source, "its tokenizer; copy the tokenizer files of the model that it was made from"):
        tokenizer = AutoTokenizer.from_pretrained(_tokenizer_folder(source), **_common(source))
    # Without files transformers makes one that knows its special tokens only, and so no text at all.
    assert isinstance(tokenizer, PreTrainedTokenizerBase)
    merges = getattr(getattr(tokenizer, "backend_tokenizer", None), "model", None)
    if getattr(merges, "dropout", None):
        # It is for training: with it the same text has other tokens each time.
        merges.dropout = None  # type: ignore[union-attr]
    if not tokenizer.get_vocab().keys() - tokenizer.get_added_vocab().keys():
        raise UnusableError(f"{source.id} has no tokenizer; copy tokenizer.json of the model that it was made from.")
    return tokenizer


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What a config says about tokens; None where it says nothing.

    Attributes:
        context_limit: the longest sequence that the model has positions for.
        eos_token_id: the end-of-text token, the first if there are several.
        vocabulary_size: how many token ids the model knows.
    """

    context_limit: int | None
    eos_token_id: int | None
    vocabulary_size: int | None


def facts(source: ModelSource) -> Facts:
    """What the model's config says, read once: for a GGUF file that takes seconds.

    Raises:
        UnusableError: its config cannot be read.
    """
    config = _config(source)
    parts = (config.get_text_config(), config)
    limits = [getattr(part, name, None) for part in parts for name in _CONTEXT_NAMES]
    ends = [getattr(part, "eos_token_id", None) for part in parts]
    ends = [end[0] if isinstance(end, list) and end else end for end in ends]
    return Facts(
        context_limit=next((limit for limit in limits if isinstance(limit, int) and limit > 0), None),
        eos_token_id=next((end for end in ends if isinstance(end, int)), None),
        vocabulary_size=getattr(parts[0], "vocab_size", None),
    )


def context_limit(source: ModelSource) -> int | None:
    """The longest sequence in tokens that the model has positions for; None if its config states none.

    Raises:
        UnusableError: its config cannot be read.
    """
    return facts(source).context_limit


def parameter_count(source: ModelSource) -> int:
    """The number of different weights, tied ones once, from the config alone.

    Raises:
        UnusableError: its config is not one of a causal language model.
    """
    config = _config(source)
    _refuse_other_kinds(source, config)
    return sum(parameter.numel() for parameter in _outline(source, config).parameters())


def _outline(source: ModelSource, config: PretrainedConfig) -> torch.nn.Module:
    """The model without numbers in it."""
    with quiet(), explained(source), torch.device("meta"):
        build: Any = AutoModelForCausalLM.from_config
        model = build(config, trust_remote_code=source.trust_remote_code)
    assert isinstance(model, torch.nn.Module)
    return model


def token_ids(tokenizer: PreTrainedTokenizerBase, texts: Iterable[str], enough: int = 0) -> Iterator[list[int]]:
    """The ids of each text, without special tokens and never cut to the model's length; texts are taken in batches.

    Args:
        enough: of one text no more than this many ids are needed, and the rest need not be looked at; 0 means all.
    """
    batch: list[str] = []
    characters = 0
    for text in texts:
        if len(text) > BATCH_CHARACTERS:
            yield from _batch_ids(tokenizer, batch)
            yield _long_ids(tokenizer, text, enough)
            batch, characters = [], 0
            continue
        batch.append(text)
        characters += len(text)
        if characters >= BATCH_CHARACTERS:
            yield from _batch_ids(tokenizer, batch)
            batch, characters = [], 0
    yield from _batch_ids(tokenizer, batch)


def _long_ids(tokenizer: PreTrainedTokenizerBase, text: str, enough: int) -> list[int]:
    """The ids of a text that is too long for the tokenizer's memory at once (about 130 bytes a character).

    It is cut before a blank between two words, where tokenizers of bytes see a border anyway.
    """
    ids: list[int] = []
    start = 0
    while start < len(text) and not (enough and len(ids) >= enough):
        stop = start + BATCH_CHARACTERS
        borders = [match.end() for match in _BORDER.finditer(text, stop - 1000, stop)] if stop < len(text) else []
        stop = borders[-1] if borders else stop
        ids += _batch_ids(tokenizer, [text[start:stop]])[0]
        start = stop
    return ids


def tokenizer_identity(tokenizer: PreTrainedTokenizerBase) -> str:
    """`sha256:<64 hex>` of everything that turns text into ids."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is not None:
        content = backend.to_str()
    else:
        content = f"{type(tokenizer).__name__} {transformers.__version__} {sorted(tokenizer.get_vocab().items())}"
    return f"sha256:{hashlib.sha256(content.encode()).hexdigest()}"


def _batch_ids(tokenizer: PreTrainedTokenizerBase, batch: list[str]) -> list[list[int]]:
    if not batch:
        return []
    try:
        with quiet():
            found = tokenizer(
                batch, add_special_tokens=False, return_attention_mask=False, return_token_type_ids=False, verbose=False
            )
    except Exception as error:
        if type(error) is not Exception:  # which is what the tokenizers library raises, and nobody else
            raise
        raise UnusableError(
            f"The tokenizer cannot read the text ({error}); give it a token for what it does not know, or other text."
        ) from error
    ids: list[list[int]] = found["input_ids"]
    return ids


def _folder(source: ModelSource) -> Path:
    if source.path is None:
        raise UnusableError(f"{source.id} has not been downloaded.")
    return source.path / (source.subfolder or "")


def _tokenizer_folder(source: ModelSource) -> Path:
    own = _folder(source)
    if source.subfolder is None or has_tokenizer(entry.name for entry in own.iterdir()):
        return own
    return own.parents[len(Path(source.subfolder).parts) - 1]


def _common(source: ModelSource) -> dict[str, Any]:
    # A GGUF file that is still to be downloaded cannot be asked, but there may be a config.json beside it.
    here = source.gguf_file is not None and (_folder(source) / source.gguf_file).is_file()
    gguf = {"gguf_file": source.gguf_file} if here else {}
    return {"local_files_only": True, "trust_remote_code": source.trust_remote_code, **gguf}


def _config(source: ModelSource) -> PretrainedConfig:
    with quiet(), explained(source, "its config.json"):
        config = AutoConfig.from_pretrained(_folder(source), **_common(source))
        assert isinstance(config, PretrainedConfig)
        return config


def _refuse_other_kinds(source: ModelSource, config: PretrainedConfig) -> None:
    heads = [name for name in (config.architectures or []) if _OTHER_HEAD.search(name)]
    if heads:
        raise UnusableError(
            f"{source.id} is a {heads[0]}, not a causal language model; an LLC of its loss is not defined."
        )
    if config.is_encoder_decoder:
        raise UnusableError(f"{source.id} is an encoder-decoder; only decoder-only language models are supported.")
    quantization = getattr(config, "quantization_config", None)
    if quantization is not None and source.gguf_file is None:
        method = quantization.get("quant_method") if isinstance(quantization, dict) else None
        raise UnusableError(
            f"{source.id} has quantised weights ({method or 'unknown method'}), which cannot be moved in small steps; "
            "name the full-precision model, or a GGUF file with --gguf-file."
        )


def _keep_constants(source: ModelSource, config: PretrainedConfig, model: torch.nn.Module) -> None:
    """What the model's own code declares constant, as fixed positions are, stays so: loading forgets it of some."""
    declared = {name for name, parameter in _outline(source, config).named_parameters() if not parameter.requires_grad}
    for name, parameter in model.named_parameters():
        if name in declared:
            parameter.requires_grad_(False)


def _give_padding_a_gradient(model: torch.nn.Module) -> None:
    """Nothing here is padding: where that id is the end of a text too, the loss depends on its row like on others."""
    for part in model.modules():
        if isinstance(part, torch.nn.Embedding):
            forward = type(part).forward
            # Some embeddings of positions count from that id on, in words of their own.
            if forward is torch.nn.Embedding.forward or "padding_idx" not in forward.__code__.co_names:
                part.padding_idx = None


def _refuse_if_not_causal(source: ModelSource, model: Any) -> None:
    """Nothing, if the logits are finite and two inputs that differ in the last token have the same ones before it."""
    embedding = model.get_input_embeddings().weight
    ids = torch.arange(8, device=embedding.device).remainder(embedding.shape[0]).repeat(2, 1)
    ids[1, -1] = ids[1, 0]
    with torch.no_grad(), explained(source):
        logits = model(input_ids=ids).logits[:, :-1]
    if not logits.isfinite().all():
        raise UnusableError(f"{source.id} gives logits that are not finite; its weights hold inf or NaN, or overflow.")
    difference = float((logits[0] - logits[1]).abs().max() / logits.abs().max().clamp_min(1e-30))
    if difference > CAUSALITY_TOLERANCE.get(logits.dtype, 0.03):
        raise UnusableError(
            f"{source.id} looks at later tokens (its logits change with them), so its next-token loss means nothing; "
            "name a causal language model."
        )
