"""Checkpoints as PyTorch modules, and what their configs say (transformers)."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import AutoConfig, AutoModelForCausalLM, PretrainedConfig

from hf_llc.adapters.checkpoint_errors import explained, quiet
from hf_llc.adapters.layers import spread_over
from hf_llc.adapters.model_files import refuse_damaged
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
        refuse_damaged(folder_of(source))
    options: dict[str, Any] = {}
    if source.gguf_file is not None:
        # Otherwise the model stays marked as quantised after its weights have been unpacked.
        options["quantization_config"] = transformers.GgufConfig(dequantize=True)
    if devices > 1:
        options["distributed_config"] = spread_over(devices, source, config)
    with quiet(), explained(source):
        loaded: Any = AutoModelForCausalLM.from_pretrained(
            folder_of(source),
            config=config,
            **loading_options(source),
            **options,
            dtype=dtype,
            output_loading_info=True,
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
    here = source.gguf_file is not None and (folder_of(source) / source.gguf_file).is_file()
    gguf = {"gguf_file": source.gguf_file} if here else {}
    return {"local_files_only": True, "trust_remote_code": source.trust_remote_code, **gguf}


def _config(source: ModelSource) -> PretrainedConfig:
    with quiet(), explained(source, "its config.json"):
        config = AutoConfig.from_pretrained(folder_of(source), **loading_options(source))
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
