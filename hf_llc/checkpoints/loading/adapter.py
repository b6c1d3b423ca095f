"""Adapters put on the models that they change, unmerged, so that their own weights can move (peft)."""

import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import fields
from functools import partial
from typing import Any

import torch
from torch import Tensor

from hf_llc.checkpoints.adapter import AdapterConfig, read_adapter_config
from hf_llc.checkpoints.files import ADAPTER_CONFIG, ADAPTER_WEIGHTS
from hf_llc.checkpoints.folder import Stored, stored_tensors
from hf_llc.checkpoints.loading.config import folder_of
from hf_llc.checkpoints.loading.errors import quiet
from hf_llc.checkpoints.loading.random_numbers import seeded
from hf_llc.checkpoints.source import ModelSource
from hf_llc.errors import HfLlcError, ResourceError, UnusableError, listed, of_memory
from hf_llc.settings.bounds import shown

MOVING = "hf_llc_moving"
"""Attribute of a model with an adapter: names of the weights that move where no others are asked for."""
PREFIX = "base_model.model."
"""What peft writes before every name."""
_WRAPPED = (".token_adapter.base_layer.", ".base_layer.", ".original_module.")
"""What peft inserts into the names of the base's weights."""


def put_on(source: ModelSource, model: Any) -> Any:
    """The model with the adapter in it, in evaluation mode; it is changed itself.

    Its attribute MOVING names the adapter's weights. All weights may move, as far as they could before.

    Args:
        source: the adapter. model: its base, loaded.

    Raises:
        UnusableError: the adapter does not fit this base, is damaged, or has weights that are left out.
        ResourceError: it does not fit in memory.
    """
    config = read_adapter_config(source)
    _refuse_other_class(source, config, model)
    stored = stored_tensors(folder_of(source), [ADAPTER_WEIGHTS])
    _refuse_unfit(source, config, stored)
    with _explained(source), quiet(), seeded(0), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        new = _resized(model, stored)
        movable = {id(parameter) for parameter in model.parameters() if parameter.requires_grad}
        own = set(model.state_dict())
        wrapped = _injected(source, model, config)
        result = _filled(source, wrapped)
    whole = wrapped.get_base_model()
    _refuse_left_over(source, wrapped, result, own, new)
    named = dict(whole.named_parameters())
    moving = [name for name, parameter in named.items() if parameter.requires_grad]
    for name, parameter in whole.named_parameters(remove_duplicate=False):
        # The module that a trained copy stands in for has no part in the loss, unless it is tied to one that has.
        if ".original_module." not in name and id(parameter) in movable:
            parameter.requires_grad_(True)
    setattr(whole, MOVING, moving)
    _give_exact_gradients(source, whole)
    return whole.eval()


def outline(source: ModelSource, model: Any) -> Any:
    """The model with an adapter of that shape, whose weights are not read; on the device of the model.

    Raises:
        UnusableError: the adapter does not fit this base.
    """
    config = read_adapter_config(source)
    with _explained(source), quiet(), seeded(0), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return _injected(source, model, config).get_base_model().eval()


def _injected(source: ModelSource, model: Any, config: AdapterConfig) -> Any:
    """The PeftModel around the base, its adapter's weights not read yet."""
    from peft import PEFT_TYPE_TO_CONFIG_MAPPING, PeftModel, __version__

    kind: Any = PEFT_TYPE_TO_CONFIG_MAPPING[config.kind]  # type: ignore[index]
    known = {field.name for field in fields(kind)}
    strange = sorted(name for name, value in config.values.items() if name not in known and value)
    if strange:
        raise UnusableError(
            f"{source.id} has {listed(strange)} in its {ADAPTER_CONFIG}, which peft {__version__} does not know; "
            "install a newer peft: pip install --upgrade peft"
        )
    values = {name: value for name, value in config.values.items() if name in known}
    return PeftModel(model, kind(**{**values, "inference_mode": False}))


def _filled(source: ModelSource, wrapped: Any) -> Any:
    """What peft says after it has read the adapter's weights: names that it missed, and names without a place."""
    from peft import set_peft_model_state_dict
    from peft.utils.save_and_load import load_peft_weights

    renamed = getattr(wrapped.get_base_model(), "_checkpoint_conversion_mapping", None)
    weights = load_peft_weights(str(folder_of(source)), device="cpu", key_mapping=renamed)
    try:
        return set_peft_model_state_dict(wrapped, weights)
    except KeyError as error:
        raise UnusableError(
            f"{source.id}: {ADAPTER_WEIGHTS} lacks {str(error.args[0]).removeprefix(PREFIX)}, which its "
            f"{ADAPTER_CONFIG} announces; save the adapter again."
        ) from error


def _refuse_other_class(source: ModelSource, config: AdapterConfig, model: torch.nn.Module) -> None:
    """Raise UnusableError if the adapter says that it was trained on a model of another class."""
    mapping = config.values.get("auto_mapping")
    trained = mapping.get("base_model_class") if isinstance(mapping, Mapping) else None
    if isinstance(trained, str) and trained not in {each.__name__ for each in type(model).__mro__}:
        base = source.whole.id
        raise UnusableError(
            f"{source.id} was trained on a {trained}, but {base} is a {type(model).__name__}; name the model that it "
            "was trained on with `base_model`."
        )


def _refuse_unfit(source: ModelSource, config: AdapterConfig, stored: Sequence[Stored]) -> None:
    """Raise UnusableError if the adapter's file is empty, holds what is no weight, or is smaller than its config says.

    peft makes weights of the ranks in the config before it compares them.
    """
    if not stored:
        raise UnusableError(f"{source.id}: {ADAPTER_WEIGHTS} holds no weights; save the adapter again.")
    largest = max(max(tensor.shape, default=1) for tensor in stored)
    for name, rank in _ranks(config):
        if rank > largest:
            raise UnusableError(
                f"{source.id}: its {ADAPTER_CONFIG} says {name} = {shown(rank)}, and no weight in {ADAPTER_WEIGHTS} is "
                f"wider than {largest}; they do not belong together."
            )
    for tensor in stored:
        if tensor.size == 0:
            raise UnusableError(
                f"{source.id}: {tensor.name} in {ADAPTER_WEIGHTS} is empty, as DeepSpeed ZeRO-3 leaves weights that it "
                "did not gather; save the adapter with stage3_gather_16bit_weights_on_model_save."
            )
        if not tensor.is_float:
            raise UnusableError(
                f"{source.id}: {tensor.name} in {ADAPTER_WEIGHTS} is stored as {tensor.dtype}, which is no weight that "
                "can be moved; save the adapter in float32, float16 or bfloat16."
            )


def _ranks(config: AdapterConfig) -> list[tuple[str, int]]:
    """The ranks that a config asks for, with the names of their entries."""
    pattern = config.values.get("rank_pattern")
    listed = {"r": config.values.get("r"), **(pattern if isinstance(pattern, Mapping) else {})}
    return [(name, rank) for name, rank in listed.items() if isinstance(rank, int)]


def _resized(model: Any, stored: Sequence[Stored]) -> list[Tensor]:
    """Weights that the base got anew, to be read from the adapter: it holds the embedding of another vocabulary."""
    embedding = model.get_input_embeddings()
    name = next((name for name, module in model.named_modules() if module is embedding), None)
    spellings = {f"{PREFIX}{name}.{part}weight" for part in ("", "base_layer.")}
    rows = next((tensor.shape[0] for tensor in stored if tensor.name in spellings and len(tensor.shape) == 2), None)
    if rows is None or rows == embedding.weight.shape[0]:
        return []
    before = {id(parameter) for parameter in model.parameters()}
    model.resize_token_embeddings(rows, mean_resizing=False)
    return [parameter for parameter in model.parameters() if id(parameter) not in before]


def _refuse_left_over(
    source: ModelSource, wrapped: torch.nn.Module, result: Any, own: set[str], new: Sequence[Tensor]
) -> None:
    """Raise UnusableError if weights of the adapter were not in its file, or some of the file have no place.

    Args:
        own: names of the base's tensors before the adapter was put on. new: those of its weights that have no numbers.
    """
    base = source.whole.id
    if result.unexpected_keys:
        names = [name.removeprefix(PREFIX) for name in sorted(result.unexpected_keys)]
        raise UnusableError(
            f"{source.id} holds weights that {base} with this adapter has no place for: {listed(names)}; it was "
            "trained on another model: name that with `base_model`."
        )
    read = {id(tensor) for name, tensor in _parameters(wrapped) if name not in result.missing_keys}
    empty = {id(tensor) for tensor in new}

    def is_needed(name: str, tensor: Tensor) -> bool:
        unread = id(tensor) in empty and ".original_module." not in name
        return tensor.requires_grad or _plain(name) not in own or unread

    missing = [
        name.removeprefix(PREFIX)
        for name, tensor in _parameters(wrapped)
        if id(tensor) not in read and is_needed(name, tensor)
    ]
    if missing:
        raise UnusableError(
            f"{source.id}: {ADAPTER_WEIGHTS} lacks {listed(missing)}; peft would fill them with random numbers. Save "
            "the adapter again, or name the model that it was trained on with `base_model`."
        )


def _parameters(wrapped: torch.nn.Module) -> Iterator[tuple[str, Tensor]]:
    return wrapped.named_parameters(remove_duplicate=False)


def _plain(name: str) -> str:
    """The name of a weight without what peft inserted."""
    for part in _WRAPPED:
        while part in name:  # one may be in another
            name = name.replace(part, ".")
    return name.removeprefix(PREFIX)


def _give_exact_gradients(source: ModelSource, model: torch.nn.Module) -> None:
    """Let the gradient of DoRA be that of its loss.

    peft takes the norm of the changed weight for a constant in the backward pass (Liu et al. 2024, section 4.3), which
    makes another vector of it than the slope of the loss.

    Raises:
        UnusableError: it is DoRA of layers other than linear ones.
    """
    from peft.tuners.lora.dora import DoraLinearLayer

    for name, module in model.named_modules():
        if type(module) is DoraLinearLayer:
            module.forward = partial(_dora, module)  # type: ignore[method-assign]
        elif isinstance(module, DoraLinearLayer):
            raise UnusableError(
                f"{source.id} is a DoRA of {name.partition('.lora_magnitude_vector')[0]}, which is no linear layer; "
                "only linear ones are supported."
            )


def _dora(
    layer: Any,
    x: Tensor,
    *,
    lora_A: Any,  # noqa: N803
    lora_B: Any,  # noqa: N803
    scaling: float,
    base_layer: Any,
    base_result: Tensor | None = None,
    adapter_name: str = "default",
) -> Tensor:
    """What DoRA adds to W x: m (W + sBA) x / ‖W + sBA‖ − W x, the norm taken of each row (Liu et al. 2024, eq. 5)."""
    weight = base_layer.weight.T if layer.fan_in_fan_out else base_layer.weight
    norm = torch.linalg.norm(weight + scaling * (lora_B.weight @ lora_A.weight), dim=1)
    scale = layer.weight / norm
    if base_result is None:
        plain = torch.nn.functional.linear(x, weight)
    else:
        plain = base_result if base_layer.bias is None else base_result - base_layer.bias
    added: Tensor = (scale - 1) * plain + scale * scaling * lora_B(lora_A(x))
    return added


@contextmanager
def _explained(source: ModelSource) -> Iterator[None]:
    """Turns what peft raises inside into our errors."""
    try:
        yield
    except HfLlcError:
        raise
    except Exception as error:
        # peft raises whatever the part that failed does.
        if of_memory(error):
            raise ResourceError(f"{source.id} does not fit in memory; use a larger device.") from error
        text = " ".join(str(error).split())
        reason = text if len(text) <= 300 else text[:299] + "…"
        raise UnusableError(
            f"{source.id} cannot be put on {source.whole.id} ({type(error).__name__}: {reason}); if it was trained on "
            "another model, name that with `base_model`."
        ) from error
