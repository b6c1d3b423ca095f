"""Whether the tensors of a checkpoint's files are those of the model that its config describes."""

import re
from collections.abc import Collection, Sequence
from typing import Any

from transformers import PretrainedConfig

from hf_llc.checkpoints.folder import Stored
from hf_llc.checkpoints.source import ModelSource
from hf_llc.errors import UnusableError, listed

_MASK = re.compile(r"(^|\.)(\w*attn|\w*attention)\.(bias|masked_bias|causal_mask)$")
"""Causal masks, which early versions of transformers saved with the weights, where a layer has no bias itself."""
_POSITIONS = re.compile(r"(^|\.)(inv_freq|position_ids)$")
"""Tables of positions, which every version computes from the config."""
_OTHER_SENSES = re.compile(
    r"(^|\.)(vision|visual|image|video|audio|speech|sound|multi_modal|mm_|embed_vision|embed_audio|connector|aligner"
    r"|projector|talker|code2wav|vit|siglip)\w*(\.|$)"
)
"""Parts of a model of text and pictures or sounds that the loss of text does not depend on."""
_LATER_TOKENS = re.compile(r"(^|\.)mtp\w*\.")
"""Heads that predict tokens after the next one, which the loss of the next token does not depend on."""
_LORA = re.compile(r"\.lora_|\.modules_to_save\.|(^|\.)base_model\.")


def refuse_unfit(source: ModelSource, stored: Sequence[Stored], built: Any) -> None:
    """Raise UnusableError if a tensor is empty, or of a type that is not the weight itself.

    Args:
        built: the model without its weights.
    """
    expected = built.state_dict(keep_vars=True) | dict(built.named_buffers())
    whole = {name.rpartition(".")[2] for name, tensor in expected.items() if not tensor.is_floating_point()}
    ignored = [re.compile(pattern) for pattern in built._keys_to_ignore_on_load_unexpected or ()]
    weights = {name for name, _ in built.named_parameters()}
    for tensor in stored:
        if tensor.size == 0 and not (tensor.name in expected and expected[tensor.name].numel() == 0):
            raise UnusableError(
                f"{source.id}: {tensor.name} in {tensor.file} is empty, as DeepSpeed ZeRO-3 leaves weights that it did "
                "not gather; run zero_to_fp32.py of the training checkpoint, or save with "
                "stage3_gather_16bit_weights_on_model_save."
            )
        last = tensor.name.rpartition(".")[2]
        if tensor.is_float or last in whole or _is_of_old_versions(tensor):
            continue
        # GPT-2 ignores `attn.bias`, a mask, in words that c_attn.bias, a weight, has too.
        if _spellings(tensor.name, built) & weights or not any(pattern.search(tensor.name) for pattern in ignored):
            raise UnusableError(
                f"{source.id}: {tensor.name} in {tensor.file} is stored as {tensor.dtype}, quantised, while its "
                "config.json has no quantization_config; without a scale it is another weight. Name the full-precision "
                "model."
            )


def differing_shapes(stored: Sequence[Stored], built: Any) -> str:
    """The first tensor whose shape in the file is not that of the model, as a clause; empty if names do not tell."""
    expected = built.state_dict()
    for tensor in stored:
        for name in sorted(_spellings(tensor.name, built)):
            if name in expected and tuple(expected[name].shape) != tensor.shape:
                of_config = _shape(expected[name].shape)
                return f"{tensor.name} is {_shape(tensor.shape)} in the file and {of_config} by config.json"
    return ""


def refuse_left_over(
    source: ModelSource, config: PretrainedConfig, model: Any, stored: Sequence[Stored], names: Collection[str]
) -> None:
    """Raise UnusableError if the files hold tensors that decide what the model computes and that it did not take.

    Args:
        names: what was not taken, in the words of the model, without what transformers itself knows to be harmless.
    """
    only_text = type(model.config) is not type(config)
    unused = sorted(name for name in names if not _is_harmless(name, stored, only_text))
    if not unused:
        return
    if any(_LORA.search(name) for name in unused):
        advice = "They are of an adapter: merge it (`merge_and_unload` of peft) and save the whole."
    else:
        advice = "Make config.json say what they are (biases, layers, scales), or save the model anew."
    raise UnusableError(
        f"{source.id} holds weights that the model of its config.json does not take: {listed(unused)}; "
        f"without them it is another model. {advice}"
    )


def left_out(model: Any, built: Any, stored: Sequence[Stored], names: Collection[str]) -> list[str]:
    """Names of weights in the files that no loss of text depends on: heads for later tokens, other senses, sorted.

    Args:
        names: what was not taken and is harmless, without what transformers itself knows to be so.
    """
    ignored = [re.compile(pattern) for pattern in built._keys_to_ignore_on_load_unexpected or ()]
    own_names = model.state_dict().keys()
    known = [each for each in stored if any(pattern.search(each.name) for pattern in ignored)]
    unused = {
        each.name for each in known if not (_spellings(each.name, built) & own_names or _is_of_old_versions(each))
    }
    old = {each.name for each in stored if _is_of_old_versions(each)}
    return sorted(unused | {name for name in names if not any(name.endswith(each) for each in old)})


def refuse_untied(source: ModelSource, model: Any, built: Any) -> None:
    """Raise UnusableError if the files hold different values for weights that the config says are one."""
    apart = sorted(built.all_tied_weights_keys.keys() - model.all_tied_weights_keys.keys())
    if apart:
        other = built.all_tied_weights_keys[apart[0]]
        raise UnusableError(
            f"{source.id} holds {apart[0]} and {other} with different values, while its config.json ties them; set "
            "tie_word_embeddings to false in config.json if both were trained, or remove one of them from the weights."
        )


def _spellings(name: str, built: Any) -> set[str]:
    """The names that a tensor of a file may have in the model: as it is, with the model's prefix, and without it."""
    prefix = f"{built.base_model_prefix}."
    return {name, prefix + name, name.removeprefix(prefix)}


def _is_harmless(name: str, stored: Sequence[Stored], only_text: bool) -> bool:
    if _LATER_TOKENS.search(name) or (only_text and _OTHER_SENSES.search(name)):
        return True
    # The model's name may have a prefix that the file's has not, and the other way round.
    return any(
        _is_of_old_versions(tensor)
        for tensor in stored
        if name == tensor.name or name.endswith(f".{tensor.name}") or tensor.name.endswith(f".{name}")
    )


def _is_of_old_versions(tensor: Stored) -> bool:
    """True for a mask or a table of positions that early versions saved."""
    if _POSITIONS.search(tensor.name):
        return True
    shape = tensor.shape
    square = len(shape) in {2, 4} and shape[-1] == shape[-2] and set(shape[:-2]) <= {1}
    return bool(_MASK.search(tensor.name)) and (square or tensor.size == 1)


def _shape(shape: Sequence[int]) -> str:
    return "×".join(map(str, shape)) or "a single number"
