"""The components of a model by name."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from torch import Tensor, nn

from hf_llc.components.component import Component, Region, merged
from hf_llc.components.layouts import LAYOUTS
from hf_llc.components.structure import heads_of, layers_of, mlp_parameters, norm_parameters
from hf_llc.errors import NotFoundError, SettingsError, did_you_mean
from hf_llc.settings.component import APART, KINDS, TOGETHER


def components_of(model: nn.Module) -> dict[str, Component]:
    """The components by name, in the order of the model.

    - `l0h1`: head 1 of layer 0, its rows of the query projection and its columns of the output projection, and in
      multi-head attention its rows of the key and value projections. The bias of the output projection belongs to none.
    - `l0g1`: group 1 of heads that share keys and values, with these; only where heads do.
    - `l0kv1`: the keys and values of that group alone.
    - `l0.attn`, `l0.mlp`: attention and MLP without norms. `l0`: the layer, norms included.
    - `embed`, `unembed`: token embedding (of an image model that of patches) and output projection to logits. A model
      with tied embeddings has one tensor for both.
    - `norms`: all norms. `full`: all weights.
    """
    tensors = dict(model.named_parameters())
    names = {id(tensor): name for name, tensor in tensors.items()}
    every = dict(model.named_parameters(remove_duplicate=False))
    layers = layers_of(model)

    def component(name: str, kind: str, regions: Sequence[Region]) -> Iterator[Component]:
        # A tied weight has several names, of which one is that of the tensor.
        own = [replace(each, parameter=names[id(every[each.parameter])]) for each in regions]
        if own:
            yield Component(name, kind, merged(own, tensors))

    def listed() -> Iterator[Component]:
        yield from component("embed", "embeddings", _of_module(model, "get_input_embeddings"))
        for number, (name, layer) in enumerate(layers.items()):
            for label, kind, regions in _of_layer(layer):
                placed = [replace(each, parameter=f"{name}.{each.parameter}") for each in regions]
                yield from component(f"l{number}{label}", kind, placed)
        yield from component("norms", "norms", [Region(each) for each in norm_parameters(model)])
        yield from component("unembed", "embeddings", _of_module(model, "get_output_embeddings"))
        yield from component("full", "full", [Region(each) for each in tensors])

    return {each.name: each for each in listed()}


def _of_layer(layer: nn.Module) -> Iterator[tuple[str, str, list[Region]]]:
    """End of the name, kind and regions of each component of a layer, parameters named from there."""
    parameters = [name for name, _ in layer.named_parameters()]
    yield "", "layers", [Region(each) for each in parameters]
    heads = heads_of(layer)
    if heads is not None:
        norms = set(norm_parameters(layer))
        own = [each for each in parameters if each.startswith(f"{heads.outer}.") and each not in norms]
        yield ".attn", "attention", [Region(each) for each in own]
        grouped = len(heads.shared) < len(heads.own)
        for number, regions in enumerate(heads.own):
            yield f"h{number}", "heads", [*regions, *([] if grouped else heads.shared[number])]
        for number, shared in enumerate(heads.shared if grouped else []):
            size = len(heads.own) // len(heads.shared)
            members = heads.own[number * size : (number + 1) * size]
            yield f"g{number}", "groups", [*shared, *(region for regions in members for region in regions)]
            yield f"kv{number}", "keys-values", list(shared)
    yield ".mlp", "mlps", [Region(each) for each in mlp_parameters(layer)]


def _of_module(model: Any, getter: str) -> list[Region]:
    """All parameters of the module that a method of transformers names; none where there is no such module."""
    try:
        module = getattr(model, getter)()
    except (AttributeError, NotImplementedError):
        return []
    if not isinstance(module, nn.Module):
        return []
    place = {id(each): name for name, each in model.named_modules()}.get(id(module))
    return [] if place is None else [Region(f"{place}.{each}") for each, _ in module.named_parameters()]


def component_of(model: nn.Module, asked: str) -> Component:
    """The component of that name, or the union of several that are joined by `+`.

    Raises:
        NotFoundError: the model has none of that name. SettingsError: its attention is of no layout that is known.
    """
    known = components_of(model)
    tensors: dict[str, Tensor] = dict(model.named_parameters())
    parts = [_named(known, name, model) for name in asked.split(TOGETHER)]
    if len(parts) == 1:
        return parts[0]
    return Component(asked, "unions", merged([region for part in parts for region in part.regions], tensors))


def _named(known: dict[str, Component], name: str, model: nn.Module) -> Component:
    if name in known:
        return known[name]
    in_layer = re.fullmatch(r"l(\d+)(.*)", name)
    layers = [each for each, component in known.items() if component.kind == "layers"]
    kind = type(model).__name__
    if in_layer and not layers:
        raise SettingsError(
            f"component {name}: no list of layers was recognized in {kind}; name parameters with `params` instead."
        )
    if in_layer and f"l{in_layer[1]}" not in known:
        raise NotFoundError(f"component {name}: {kind} has {len(layers)} layers, {layers[0]} to {layers[-1]}.")
    if in_layer and re.match(r"h|g|kv|\.attn", in_layer[2]) and f"l{in_layer[1]}.attn" not in known:
        raise SettingsError(
            f"component {name}: the attention of layer {in_layer[1]} of {kind} has no known layout "
            f"({', '.join(LAYOUTS)}); use l{in_layer[1]}, or name parameters with `params`."
        )
    raise NotFoundError(f"component {name} is not in {kind}{did_you_mean(name, list(known))}")


def chosen(known: Mapping[str, Component], asked: str) -> list[str]:
    """The components that a list separated by commas names one by one or by their kind, in its order, each once."""
    names: list[str] = []
    for part in asked.split(APART):
        names += of_kinds(known, [part]) if part in KINDS else [part]
    return list(dict.fromkeys(names))


def of_kinds(known: Mapping[str, Component], kinds: Sequence[str]) -> list[str]:
    """Names of the components of these kinds, in the order of the model."""
    wanted = {kind for kind in kinds if kind in KINDS}
    return [name for name, each in known.items() if each.kind in wanted or "all" in wanted]


def named_components(model: nn.Module, asked: str | None) -> list[str]:
    """The components that a list asks for, each of which the model has.

    Raises:
        NotFoundError, SettingsError: it has not.
    """
    names = chosen(components_of(model), asked or "")
    for name in names:
        component_of(model, name)
    if not names:
        raise SettingsError(f"component {asked}: {type(model).__name__} has none of these; see hf-llc components.")
    return names
