"""Checkpoints as PyTorch modules, and what their configs say (transformers)."""

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import transformers
from transformers import PretrainedConfig

from hf_llc.checkpoints.folder import chosen_in, stored_tensors
from hf_llc.checkpoints.loading.adapter import outline, put_on
from hf_llc.checkpoints.loading.config import (
    CAUSAL,
    Kind,
    building_options,
    folder_of,
    loading_options,
    read_config,
    refuse_other_kinds,
    refuse_too_many,
)
from hf_llc.checkpoints.loading.constructed import as_stored, construct, restore
from hf_llc.checkpoints.loading.duplicates import refuse_duplicates
from hf_llc.checkpoints.loading.errors import explained, quiet
from hf_llc.checkpoints.loading.fit import differing_shapes, left_out, refuse_left_over, refuse_unfit, refuse_untied
from hf_llc.checkpoints.loading.gguf_positions import scale_positions
from hf_llc.checkpoints.loading.gguf_tensors import refuse_dropped
from hf_llc.checkpoints.loading.layers import spread_over
from hf_llc.checkpoints.source import ModelSource
from hf_llc.errors import UnusableError, listed

_CONTEXT_NAMES = (
    "max_position_embeddings", "n_positions", "seq_length", "max_seq_len", "max_seq_length", "n_ctx",
    "max_target_positions",
)  # fmt: skip
_ONE_AT_A_TIME = threading.RLock()
"""Building a model without numbers changes how every module of the process registers its parameters."""
CAUSALITY_TOLERANCE = {torch.float32: 1e-3, torch.float64: 1e-6}  # of the largest logit; coarser types: 0.03


def load_model(
    source: ModelSource, device: str, dtype: torch.dtype = torch.float32, devices: int = 1, kind: Kind = CAUSAL
) -> torch.nn.Module:
    """The model in eval mode, with every weight read from the checkpoint and no cache of keys.

    Its attribute `hf_llc_left_out` names the weights in the files that it has no use for. An adapter is put on its base
    and not merged, see `adapter.put_on`.

    Args:
        devices: processes over which FSDP2 spreads it, all that there are in the process group, each of which calls
            this and reads its own rows of the weights.
        kind: what it must be.

    Raises:
        UnusableError: not a model of that kind, weights missing or damaged, or code of its own not allowed.
        ResourceError: it does not fit in memory.
    """
    with _ONE_AT_A_TIME:
        model = _load_model(source.whole, device, dtype, devices, kind)
        if source.base is None:
            return model
        changed = put_on(source, model)
    if kind is CAUSAL:
        _refuse_if_not_causal(source, changed)
    assert isinstance(changed, torch.nn.Module)
    return changed


def _load_model(source: ModelSource, device: str, dtype: torch.dtype, devices: int, kind: Kind) -> torch.nn.Module:
    config = read_config(source)
    refuse_other_kinds(source, config, kind)
    if getattr(config, "rescale_every", 0):
        # RWKV would divide some of its weights, for 16 bits, at the first look at it; w* is what the checkpoint says.
        config.rescale_every = 0
    weights = chosen_in(folder_of(source), gguf_file=source.gguf_file).weights
    _refuse_other_files(source, config, weights)
    stored = stored_tensors(folder_of(source), weights)
    # Before anything is built on the meta device: code that keeps what it computed once would keep it without numbers.
    built = construct(source, config, dtype, kind=kind)
    refuse_too_many(source, sum(parameter.numel() for parameter in built.parameters()))
    refuse_unfit(source, stored, built)
    refuse_duplicates(source, folder_of(source), stored, built)
    options: dict[str, Any] = {"use_safetensors": None if source.gguf_file else weights[0].endswith(".safetensors")}
    if source.gguf_file is not None:
        # Otherwise the model stays marked as quantised after its weights have been unpacked.
        options["quantization_config"] = transformers.GgufConfig(dequantize=True)
    if devices > 1:
        options["distributed_config"] = spread_over(devices, source, built)
    with quiet(), as_stored(), explained(source, differing=lambda: differing_shapes(stored, built)):
        loaded = kind.auto.from_pretrained(
            folder_of(source),
            config=config,
            # Not that of the folder: nothing is generated here.
            generation_config=transformers.GenerationConfig(),
            **loading_options(source),
            **options,
            dtype=dtype,
            output_loading_info=True,
        )
    model, info = loaded
    if missing := sorted({*info["missing_keys"], *_not_read(model)}):
        raise UnusableError(
            f"{source.id} has no weights for {listed(missing)}; transformers would fill them with noise, "
            f"and an LLC of noise says nothing. Name a checkpoint of the whole {kind.name}."
        )
    unexpected = [name for name in info["unexpected_keys"] if not (kind.unused and kind.unused.search(name))]
    refuse_left_over(source, config, model, stored, unexpected)
    model.hf_llc_left_out = left_out(model, built, stored, info["unexpected_keys"])
    refuse_untied(source, model, built)
    restore(source, config, model, built, dtype, kind)
    with explained(source):
        if source.gguf_file is not None:
            refuse_dropped(source, folder_of(source) / source.gguf_file, model)
            scale_positions(source, folder_of(source) / source.gguf_file, model)
        model = model.eval() if devices > 1 else model.to(device).eval()
    if devices > 1:
        # By default the outermost layers stay whole after a forward pass, and would not see the weights move.
        model.set_reshard_after_forward(True)
    for part in (model.config, model.config.get_text_config()):
        part.use_cache = False
    _keep_constants(built, model)
    _give_padding_a_gradient(model)
    if kind is CAUSAL:
        _refuse_if_not_causal(source, model)
    assert isinstance(model, torch.nn.Module)
    return model


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


def facts(source: ModelSource, kind: Kind | None = None) -> Facts:
    """What the model's config says, read once: for a GGUF file that takes seconds.

    Args:
        kind: what the model must be; None leaves that to loading it.

    Raises:
        UnusableError: its config cannot be read, or is not one of that kind.
    """
    config = read_config(source.whole)
    if kind is not None:
        refuse_other_kinds(source.whole, config, kind)
    parts = (config.get_text_config(), config)
    limits = [getattr(part, name, None) for part in parts for name in _CONTEXT_NAMES]
    ends = [getattr(part, "eos_token_id", None) for part in parts]
    ends = [end[0] if isinstance(end, list) and end else end for end in ends]
    return Facts(
        context_limit=next((limit for limit in limits if isinstance(limit, int) and limit > 0), None),
        eos_token_id=next((end for end in ends if isinstance(end, int)), None),
        # An adapter may add tokens; its rows are counted once it is loaded.
        vocabulary_size=None if source.adapter else getattr(parts[0], "vocab_size", None),
    )


def context_limit(source: ModelSource) -> int | None:
    """The longest sequence in tokens that the model has positions for; None if its config states none.

    Raises:
        UnusableError: its config cannot be read.
    """
    return facts(source).context_limit


def parameter_count(source: ModelSource, kind: Kind = CAUSAL, *, of_adapter: bool = False) -> int:
    """The number of different weights, tied ones once, from the config alone.

    Args:
        of_adapter: count only those of the adapter itself.

    Raises:
        UnusableError: its config is not one of such a model.
    """
    parameters = random_model(source, "meta", kind).parameters()
    count = sum(parameter.numel() for parameter in parameters if parameter.requires_grad or not of_adapter)
    refuse_too_many(source.whole, count)
    return count


def random_model(source: ModelSource, device: str, kind: Kind = CAUSAL) -> torch.nn.Module:
    """A model of that architecture with random weights, on `meta` without any; of one whose config alone is here.

    With an adapter only its own weights require a gradient.

    Raises:
        UnusableError: its config is not one of such a model.
    """
    whole = source.whole
    config = read_config(whole)
    refuse_other_kinds(whole, config, kind)
    with _ONE_AT_A_TIME, torch.device(device):
        with quiet(), explained(whole):
            model = kind.auto.from_config(config, **building_options(whole, config, kind))
        if source.base is not None:
            model = outline(source, model)
    assert isinstance(model, torch.nn.Module)
    return model.eval()


def _refuse_other_files(source: ModelSource, config: PretrainedConfig, weights: Sequence[str]) -> None:
    """Raise UnusableError if there are no weights, or transformers would read others than those that were chosen."""
    if not weights:
        raise UnusableError(f"{source.id} has no weights (model.safetensors or pytorch_model.bin).")
    other = getattr(config, "transformers_weights", None)
    if other is not None and [other] != list(weights):
        raise UnusableError(
            f"{source.id}: its config.json names {other!r} as transformers_weights beside {weights[0]}; leave one of "
            "them, called model.safetensors."
        )


def _not_read(model: Any) -> list[str]:
    """Names of parameters that were not in the checkpoint although transformers misses none."""
    read = {name: getattr(each, "_is_hf_initialized", False) for name, each in model.named_parameters()}
    return [name for name, whether in read.items() if not whether] if any(read.values()) else []


def _keep_constants(built: torch.nn.Module, model: torch.nn.Module) -> None:
    """What the model's own code declares constant, as fixed positions are, stays so: loading forgets it of some."""
    declared = {name for name, parameter in built.named_parameters() if not parameter.requires_grad}
    for name, parameter in model.named_parameters():
        if name in declared:
            parameter.requires_grad_(False)


def _give_padding_a_gradient(model: torch.nn.Module) -> None:
    """Clear the padding id: no token here is padding, and an id that also ends texts needs the gradient of its row."""
    for part in model.modules():
        if isinstance(part, torch.nn.Embedding):
            forward = type(part).forward
            # Some embeddings of positions count from that id on, in words of their own.
            if forward is torch.nn.Embedding.forward or "padding_idx" not in forward.__code__.co_names:
                part.padding_idx = None


def _refuse_if_not_causal(source: ModelSource, model: Any) -> None:
    """Raise UnusableError unless logits are finite, and equal before the last token for inputs that differ in it."""
    embedding = model.get_input_embeddings().weight
    length = max(2, min(8, context_limit(source) or 8))
    ids = torch.arange(length, device=embedding.device).remainder(embedding.shape[0]).repeat(2, 1)
    ids[1, -1] = ids[1, 0]
    with torch.no_grad(), explained(source):
        logits = model(input_ids=ids).logits[:, :-1]
    if not logits.isfinite().all():
        raise UnusableError(f"{source.id} gives logits that are not finite; its weights hold inf or NaN, or overflow.")
    difference = float((logits[0] - logits[1]).abs().max() / logits.abs().max().clamp_min(1e-30))
    if difference > CAUSALITY_TOLERANCE.get(logits.dtype, 0.03):
        raise UnusableError(
            f"{source.id} uses later tokens (its logits change with them), so its next-token loss is "
            "meaningless; name a causal language model."
        )
