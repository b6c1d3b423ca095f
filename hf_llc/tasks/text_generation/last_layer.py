"""A causal language model cut before the layer that makes its logits (transformers)."""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor


class LastLayer(NamedTuple):
    """logits = hidden(ids) Wᵀ + b, with ids (m, context) int64 and hidden states (m, context, width).

    `activations` is layers × width, what a token leaves behind in a forward pass in units of some 20 numbers; None if
    the config does not say.
    """

    hidden: Callable[[Tensor], Tensor]
    weight: Tensor
    bias: Tensor | None
    activations: int | None


def last_layer(model: Any) -> LastLayer | None:
    """The cut, if the model has one: a linear layer whose outputs are, bit for bit, the model's logits.

    Models that scale or bend their logits afterwards have none.
    """
    layer, body = model.get_output_embeddings(), model.base_model
    if type(layer) is not torch.nn.Linear or body is model:
        return None
    config = model.config.get_text_config()
    positions = getattr(config, "max_position_embeddings", None)
    length = min(8, positions) if isinstance(positions, int) and positions > 0 else 8
    ids = torch.arange(2 * length, device=layer.weight.device).remainder(len(layer.weight)).view(2, length)
    with torch.no_grad():
        states = getattr(body(input_ids=ids, use_cache=False), "last_hidden_state", None)
        if not isinstance(states, Tensor) or states.shape[-1] != layer.in_features:
            return None
        if not torch.equal(layer(states), model(input_ids=ids, use_cache=False).logits):
            return None
    layers, width = getattr(config, "num_hidden_layers", None), getattr(config, "hidden_size", None)
    return LastLayer(
        hidden=lambda ids: body(input_ids=ids, use_cache=False).last_hidden_state,
        weight=layer.weight,
        bias=layer.bias,
        activations=layers * width if isinstance(layers, int) and isinstance(width, int) else None,
    )
