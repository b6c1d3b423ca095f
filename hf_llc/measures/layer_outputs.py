"""What the layers of a model put out at some items, seen by hooks: the residual stream behind each block.

`hidden_states[-1]` of transformers is behind the final norm, where massive activations are gone.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from hf_llc.components.structure import is_norm, layers_of
from hf_llc.measures.base import OTHER_ITEM, MeasureContext, NotApplicableError
from hf_llc.sampling import seeds
from hf_llc.tasks import TASKS

See = Callable[[int, Tensor, Tensor], None]
"""Given the number of a layer, its outputs (m, length, width) in float32 and which positions are no padding."""


def see_layers(context: MeasureContext, items: Tensor, see: See) -> int:
    """Show `see` the outputs of every layer at these items, a few at a time; returns the number of layers.

    An output (items, width) is that of a single position.

    Raises:
        NotApplicableError: the model has no single stack of layers, or they put out something else than
            (items, positions, width).
    """
    objective, layers = context.objective, list(layers_of(context.model).values()) or hidden_layers(context.model)
    if not layers:
        raise NotApplicableError("the model has no single stack of layers, an nn.ModuleList or nn.Sequential")
    lengths = _lengths(context, items)
    place = 0

    def look(index: int, output: Any) -> None:
        states = output[0] if isinstance(output, tuple) else output
        part = lengths[place : place + objective.micro_batch]
        states = states[:, None] if isinstance(states, Tensor) and states.dim() == 2 else states
        if not isinstance(states, Tensor) or states.dim() != 3 or len(states) != len(part):
            raise NotApplicableError("layers of the model do not put out a vector for each position of an item")
        real = torch.arange(states.shape[1]) < part[:, None]
        see(index, states.detach().float(), real.to(states.device))

    with hooked(layers, look):
        for part in items.split(objective.micro_batch):
            objective.losses(part)
            place += len(part)
    return len(layers)


def items_of_states(context: MeasureContext, tokens: int, count: int) -> Tensor:
    """Items of about so many tokens; of items that are no text and give one vector each, `count` of them."""
    items = context.items(tokens)
    if context.plan.corpus.context_length > 1 or len(items) >= count:
        return items
    positions: list[int] = []
    see_layers(context, items[:1], lambda index, states, real: positions.append(states.shape[1]))
    return context.items(count * OTHER_ITEM) if set(positions) == {1} else items


def hidden_layers(model: nn.Module) -> list[nn.Module]:
    """In the only Sequential, what comes just before each layer with weights but the first; else empty."""
    named = {name: each for name, each in model.named_modules() if isinstance(each, nn.Sequential)}
    outermost = [each for name, each in named.items() if not any(_holds(other, name) for other in named)]
    if len(outermost) != 1:
        return []
    children = list(outermost[0])
    starts = [place for place, each in enumerate(children) if list(each.parameters()) and not is_norm(each)]
    return [children[place - 1] for place in starts[1:]]


def _holds(outer: str, name: str) -> bool:
    """Whether the module of one name is inside that of another one."""
    return outer != name and (not outer or name.startswith(f"{outer}."))


@contextmanager
def hooked(modules: Sequence[nn.Module], look: Callable[[int, Any], None]) -> Iterator[None]:
    """While the block runs, `look` is given the number and the output of each of these modules that is called."""

    def hook_of(index: int) -> Callable[..., None]:
        return lambda module, inputs, output: look(index, output)

    handles = [module.register_forward_hook(hook_of(index)) for index, module in enumerate(modules)]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def states_of_layers(
    context: MeasureContext, items: Tensor, count: int, see: See = lambda index, states, real: None
) -> list[Tensor]:
    """States of each layer at the same positions, drawn at random from these items, (at most `count`, width).

    Args:
        see: is shown the outputs of every layer, as in `see_layers`.
    """
    kept: dict[int, list[Tensor]] = {}
    streams: dict[int, torch.Generator] = {}

    def keep(index: int, states: Tensor, real: Tensor) -> None:
        see(index, states, real)
        stream = streams.setdefault(index, seeds.generator(context.seed, "positions of states"))
        order = torch.rand(states.shape[:2], generator=stream)[real.cpu()].argsort()
        # Of each part of the items the same share, so that they are spread over all.
        share = math.ceil(count * len(states) / len(items))
        chosen = order[:share].to(states.device)
        kept.setdefault(index, []).append(states[real][chosen].cpu())

    layers = see_layers(context, items, keep)
    return [torch.cat(kept[index])[:count] for index in range(layers)]


def _lengths(context: MeasureContext, items: Tensor) -> Tensor:
    """Positions of each item that are no padding, (m,); more than it has where nothing is."""
    objective: Any = context.objective
    if hasattr(objective, "predicted"):
        predicted = objective.predicted()[items.to(objective.predicted().device)].cpu()
        places = torch.arange(1, predicted.shape[1] + 1)
        lengths: Tensor = (predicted * places).amax(dim=1)
        return lengths
    stored = TASKS[context.plan.corpus.task].load_items(context.plan.corpus).get("lengths")
    return stored[items].long() if stored is not None else torch.full((len(items),), 2**31)
