"""What a model's code computes while it is built and no file holds: buffers and other tensors beside the weights.

transformers builds a model on the meta device, where tensors have no numbers, and afterwards fills buffers that are not
in the checkpoint with uninitialised memory, unless the model's own code computes them a second time. The models of
transformers itself do that; those of a repository need not. Here the model is built a second time with buffers in
memory and only its parameters on the meta device, and what was computed then is put into the loaded model.
"""

import copy
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from accelerate.big_modeling import init_empty_weights
from torch import Tensor
from transformers import PretrainedConfig, PreTrainedModel

from hf_llc.checkpoints.loading.config import CAUSAL, Kind, building_options
from hf_llc.checkpoints.loading.errors import explained, quiet
from hf_llc.checkpoints.loading.random_numbers import NUMBERS, same_numbers, seeded
from hf_llc.checkpoints.source import ModelSource
from hf_llc.errors import UnusableError

_DEPTH = 6
_OF_TORCH = ("_parameters", "_buffers", "_modules")


def construct(
    source: ModelSource, config: PretrainedConfig, dtype: torch.dtype, seed: int = 0, kind: Kind = CAUSAL
) -> Any:
    """The model as its code builds it from the config on the CPU, but for its parameters, which have no numbers.

    Args:
        seed: of the random numbers of torch, numpy and Python while it is built; afterwards they go on as before.

    Raises:
        UnusableError: it cannot be built.
    """
    build = kind.auto.from_config
    with quiet(), explained(source), seeded(seed), init_empty_weights(include_buffers=False):
        return build(copy.deepcopy(config), dtype=dtype, **building_options(source, config, kind))


@contextmanager
def as_stored() -> Iterator[None]:
    """Loads weights inside as they are in the files: transformers initialises nothing once it has read them.

    It would initialise what it did not read, which is refused or comes from `construct` here; and the code of some
    models takes weights that were read for such, as the row of padding of an embedding.
    """
    base: Any = PreTrainedModel
    before = base.initialize_weights
    base.initialize_weights = lambda model: None
    try:
        yield
    finally:
        base.initialize_weights = before


def restore(
    source: ModelSource,
    config: PretrainedConfig,
    model: Any,
    built: Any,
    dtype: torch.dtype,
    kind: Kind = CAUSAL,
) -> None:
    """Puts into a loaded model what its code computed in `built`, wherever the checkpoint gave no numbers.

    Args:
        config, dtype, kind: as `built` was built with.

    Raises:
        UnusableError: such a tensor depends on random numbers or on the weights while they are not loaded.
    """
    names = _not_loaded(model)
    values = dict(_tensors(built))
    if _is_custom(built):
        again = construct(source, config, dtype, 1, kind)
        _refuse_random_numbers(source, built, again)
        others = dict(_tensors(again))
        differing = [name for name, value in values.items() if not _same(value, others.get(name))]
        unequal = [name for name in differing if not values[name].is_meta]
        values |= _uninitialised(source, config, dtype, unequal, kind)
    for name in names:
        if name not in values or values[name].is_meta:
            raise UnusableError(
                f"{source.id}: {name} is not in its weights, and its code does not compute it from the config alone; "
                "register it as a persistent buffer and save the model anew."
            )
    _fill(model, built, values, set(names))


def _not_loaded(model: Any) -> list[str]:
    """Names of buffers, and of other tensors without numbers, that were not in the checkpoint."""
    buffers = dict(model.named_buffers(remove_duplicate=False))
    without = {name for name, _ in model.named_non_persistent_buffers(remove_duplicate=False)}
    without |= {name for name, buffer in buffers.items() if not getattr(buffer, "_is_hf_initialized", False)}
    return [name for name, tensor in _tensors(model) if name in without or (name not in buffers and tensor.is_meta)]


def _refuse_random_numbers(source: ModelSource, built: Any, again: Any) -> None:
    """Raise UnusableError if an array or a number beside the tensors is another one when the model is built again."""
    others = dict(_numbers(again))
    for name, value in _numbers(built):
        other = others.get(name)
        if other is None or not same_numbers(value, other):
            raise UnusableError(
                f"{source.id}: {name}, which its code computes, differs whenever the model is built, as random numbers "
                "do, so no two estimates are of the same model; make it a persistent buffer and save the model anew."
            )


def _uninitialised(
    source: ModelSource, config: PretrainedConfig, dtype: torch.dtype, names: Sequence[str], kind: Kind
) -> dict[str, Tensor]:
    """These tensors, which differ from build to build, if the code leaves them uninitialised: as NaN, or as the largest
    number of their type, so that whatever reads them before it writes them shows.

    Raises:
        UnusableError: one of them is drawn at random.
    """
    if not names:
        return {}
    with _uninitialised_as_nan():
        marked = dict(_tensors(construct(source, config, dtype, 2, kind)))
    for name in names:
        tensor = marked[name]
        if not (tensor.isnan() if _has_nan(tensor) else tensor == _largest(tensor.dtype)).all():
            raise UnusableError(
                f"{source.id}: its code draws {name} at random whenever the model is built, so no two estimates are of "
                "the same model; register it as a persistent buffer and save the model anew."
            )
    return {name: marked[name] for name in names}


@contextmanager
def _uninitialised_as_nan() -> Iterator[None]:
    """torch fills the memory of `torch.empty` inside, as it does unless told otherwise where results must repeat."""
    before = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.use_deterministic_algorithms(True, warn_only=True)
        try:
            yield
        finally:
            torch.use_deterministic_algorithms(before[0], warn_only=before[1])


def _largest(dtype: torch.dtype) -> Any:
    return True if dtype == torch.bool else torch.iinfo(dtype).max


def _is_custom(model: Any) -> bool:
    """True if any of its modules is of code outside transformers and torch."""
    return any(not type(module).__module__.startswith(("transformers.", "torch.")) for module in model.modules())


def _same(one: Tensor, other: Tensor | None) -> bool:
    if other is None or one.is_meta or other.is_meta or one.shape != other.shape or one.dtype != other.dtype:
        return False
    if torch.equal(one, other):
        return True
    return _has_nan(one) and bool(((one == other) | (one.isnan() & other.isnan())).all())


def _has_nan(tensor: Tensor) -> bool:
    """True if numbers of this type may be NaN."""
    return tensor.is_floating_point() or tensor.is_complex()


def _tensors(model: torch.nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Every tensor of a model that is no parameter, by the path of attributes, items and keys that leads to it."""
    seen: set[int] = set()
    for name, module in model.named_modules(remove_duplicate=False):
        prefix = f"{name}." if name else ""
        for key, buffer in module._buffers.items():
            if buffer is not None:
                yield f"{prefix}{key}", buffer
        for key, value in vars(module).items():
            if key not in _OF_TORCH:
                yield from _inside(value, f"{prefix}{key}", seen, _DEPTH)


def _numbers(model: torch.nn.Module) -> Iterator[tuple[str, Any]]:
    """Every array and every number with a fraction that is no tensor, by the path that leads to it."""
    seen: set[int] = set()
    for name, module in model.named_modules():
        prefix = f"{name}." if name else ""
        for key, value in vars(module).items():
            if key not in _OF_TORCH:
                yield from _inside(value, f"{prefix}{key}", seen, _DEPTH, NUMBERS)


def _inside(
    value: Any, path: str, seen: set[int], depth: int, kinds: type | tuple[type, ...] = Tensor
) -> Iterator[tuple[str, Any]]:
    if isinstance(value, kinds):
        if not isinstance(value, torch.nn.Parameter):
            yield path, value
        return
    for key, inner in _items(value, seen, depth):
        yield from _inside(inner, f"{path}.{key}", seen, depth - 1, kinds)


def _items(value: Any, seen: set[int], depth: int) -> list[tuple[Any, Any]]:
    """What a container or a plain object holds; nothing of a second look at it."""
    if depth == 0 or id(value) in seen:
        return []
    items: list[tuple[Any, Any]] = []
    if isinstance(value, dict):
        items = list(value.items())
    elif isinstance(value, list | tuple):
        items = list(enumerate(value))
    elif _is_plain(value):
        items = list(vars(value).items())
    if items:
        seen.add(id(value))
    return items


def _is_plain(value: Any) -> bool:
    """True for an object of the model's own code that may hold tensors, such as a helper for positions."""
    if isinstance(value, torch.nn.Module | PretrainedConfig | type) or callable(getattr(value, "__get__", None)):
        return False
    return hasattr(value, "__dict__") and not type(value).__module__.startswith(("torch.", "builtins", "functools"))


def _fill(model: torch.nn.Module, built: torch.nn.Module, values: dict[str, Tensor], names: set[str]) -> None:
    parts = dict(built.named_modules(remove_duplicate=False))
    seen: set[int] = set()
    # A tensor that several modules registered is given memory in the first of them only.
    place = next((each.device for each in model.parameters()), torch.device("cpu"))
    for name, module in model.named_modules(remove_duplicate=False):
        prefix = f"{name}." if name else ""
        for key, buffer in module._buffers.items():
            if f"{prefix}{key}" in names and buffer is not None:
                module._buffers[key] = values[f"{prefix}{key}"].to(place if buffer.is_meta else buffer.device)
        for key, value in list(vars(module).items()):
            if key not in _OF_TORCH and name in parts:
                filled = _filled(value, f"{prefix}{key}", values, seen, _DEPTH)
                if filled is not value:
                    object.__setattr__(module, key, filled)


def _filled(value: Any, path: str, values: dict[str, Tensor], seen: set[int], depth: int) -> Any:
    """The value, with the tensors inside that have no numbers replaced; a tuple is made anew."""
    if isinstance(value, Tensor):
        return values[path] if value.is_meta and path in values else value
    items = [
        (key, inner, _filled(inner, f"{path}.{key}", values, seen, depth - 1))
        for key, inner in _items(value, seen, depth)
    ]
    changed = {key: new for key, old, new in items if new is not old}
    if not changed:
        return value
    if isinstance(value, tuple):
        parts = [changed.get(index, inner) for index, inner in enumerate(value)]
        return type(value)(*parts) if hasattr(value, "_fields") else type(value)(parts)
    for key, new in changed.items():
        if isinstance(value, dict | list):
            value[key] = new
        else:
            object.__setattr__(value, key, new)
    return value
