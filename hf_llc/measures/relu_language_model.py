"""Language models whose MLPs have ReLU as functions of the embeddings of a sequence."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from hf_llc.measures.relu_network import ReluCalls, ReluNetwork


class ReluLanguageModel(ReluNetwork):
    """The model as a function of the embeddings of these tokens, (m, length).

    Args:
        pick: from pre-activations (m, length, neurons) to those that are looked at, a row a sequence.

    Raises:
        NotApplicableError: no ReLU is called at every position.
    """

    def __init__(self, model: Any, ids: Tensor, pick: Callable[[Tensor], Tensor]) -> None:
        embeddings = model.get_input_embeddings()
        self._ids, self._pick = ids, pick

        def call(points: Tensor) -> Any:
            handle = embeddings.register_forward_hook(lambda module, inputs, output: points)
            try:
                return model(input_ids=ids, use_cache=False)
            finally:
                handle.remove()

        with torch.no_grad():
            super().__init__(model, call, embeddings(ids).clone())

    def preactivations(self, points: Tensor) -> tuple[Tensor, ...]:
        """Of each layer of ReLUs, those that are looked at, (m, …)."""
        with ReluCalls(*self._ids.shape) as calls:
            self._call(points)
        return tuple(self._pick(each.view(*self._ids.shape, -1)).flatten(1) for each in calls.inputs)
