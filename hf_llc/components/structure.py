"""Where the layers of a model are, and in each of them attention, MLP and norms."""

from collections.abc import Iterator
from typing import Any

from torch import nn

from hf_llc.components.layouts import LAYOUTS
from hf_llc.components.layouts.base import Heads

CROSS = ("cross", "encoder_attn", "encdec", "inter_attention")
"""In names of attention to another sequence."""
MLPS = ("mlp", "feed_forward", "ffn", "fc1", "fc2", "moe", "block_sparse_moe", "shared_mlp")
"""Names of a layer's children that make up its MLP, besides BERT's `intermediate` and `output`."""


def layers_of(model: nn.Module) -> dict[str, nn.Module]:
    """The layers by name, in order; empty if there is no stack of them, or several as in an encoder and a decoder."""
    lists = {name: module for name, module in model.named_modules() if isinstance(module, nn.ModuleList)}
    outermost = {
        name: stack
        for name, stack in lists.items()
        if len(stack) and not any(name.startswith(f"{other}.") for other in lists)
    }
    stacks = {name: stack for name, stack in outermost.items() if any(map(_has_attention, stack))} or outermost
    if len(stacks) > 1:
        stacks = _of_decoder(model, stacks)
    if len(stacks) != 1:
        return {}
    ((name, stack),) = stacks.items()
    return {f"{name}.{index}": layer for index, layer in enumerate(stack)}


def _of_decoder(model: nn.Module, stacks: dict[str, nn.ModuleList]) -> dict[str, nn.ModuleList]:
    """The stacks of the language model of a model that also reads images."""
    config: Any = getattr(model, "config", None)
    get_decoder: Any = getattr(model, "get_decoder", lambda: None)
    decoder = get_decoder()
    if decoder is None or decoder is model or getattr(config, "is_encoder_decoder", False):
        return stacks
    held = {id(module) for module in decoder.modules()}
    return {name: stack for name, stack in stacks.items() if id(stack) in held}


def _has_attention(layer: nn.Module) -> bool:
    return next(_attentions(layer), None) is not None


def _attentions(layer: nn.Module) -> Iterator[Heads]:
    for name, _ in layer.named_modules():
        if any(word in name.lower() for word in CROSS):
            continue
        yield from (heads for kind in LAYOUTS.values() if (heads := kind.heads(layer, name)) is not None)


def heads_of(layer: nn.Module) -> Heads | None:
    """The heads of a layer; None unless it has one attention, of a layout that is known."""
    known = list(_attentions(layer))
    return known[0] if len(known) == 1 and known[0].outer else None


def is_norm(module: nn.Module) -> bool:
    """Whether a module normalizes."""
    return "norm" in type(module).__name__.lower()


def norm_parameters(model: nn.Module) -> list[str]:
    """Names of the parameters of all norms."""
    return [
        f"{name}.{each}"
        for name, module in model.named_modules()
        if is_norm(module)
        for each, _ in module.named_parameters(recurse=False)
    ]


def mlp_parameters(layer: nn.Module) -> list[str]:
    """Names of the parameters of a layer's MLP, its experts and their router included, norms not."""
    children = [name for name, _ in layer.named_children()]
    names = [*MLPS, *(["intermediate", "output"] if "intermediate" in children else [])]
    norms = set(norm_parameters(layer))
    return [
        f"{child}.{each}"
        for child in children
        if child in names
        for each, _ in layer.get_submodule(child).named_parameters()
        if f"{child}.{each}" not in norms
    ]
