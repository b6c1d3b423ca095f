"""A causal language model as a function of several sets of its weights at once (torch.func, transformers)."""

from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor
from torch.func import functional_call
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import scaled_dot_product_attention
from torch.overrides import TorchFunctionMode


class Stateless:
    """Logits of a model at k sets of weights, each with token ids of its own; the model's own weights stay as they are.

    Args:
        model: in eval mode. parameters: those of its parameters that are given anew, in the order in which they are
            given; the others are the model's own for all sets.
    """

    def __init__(self, model: Any, parameters: Sequence[Tensor]) -> None:
        names = {id(parameter): name for name, parameter in model.named_parameters()}
        self._model = model
        self._names = [names[id(parameter)] for parameter in parameters]
        self._all = torch.vmap(self._one)

    def __call__(
        self,
        weights: Sequence[Tensor],  # (k, *shape) of each parameter
        ids: Tensor,  # (k, m, context) int64
    ) -> Tensor:
        """(k, m, context, vocabulary).

        Raises:
            RuntimeError: the model does what torch cannot do for several sets of weights at once.
        """
        # Of the kinds of attention that torch has, only the plain one is sure to have a form for several sets.
        with sdpa_kernel(SDPBackend.MATH), ExitStack() as stack:
            if torch.is_autocast_enabled(ids.device.type):
                stack.enter_context(_AttentionInOnePrecision(torch.get_autocast_dtype(ids.device.type)))
            found: Tensor = self._all(list(weights), ids)
            return found

    def _one(self, weights: Sequence[Tensor], ids: Tensor) -> Tensor:
        named = dict(zip(self._names, weights, strict=True))
        found: Tensor = functional_call(self._model, named, kwargs={"input_ids": ids, "use_cache": False}).logits
        return found


class _AttentionInOnePrecision(TorchFunctionMode):
    """Autocast for attention, which for several sets torch leaves out."""

    def __init__(self, dtype: torch.dtype) -> None:
        super().__init__()
        self._dtype = dtype

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        named = kwargs or {}
        if func is scaled_dot_product_attention:
            args = [self._cast(each) for each in args]
            named = {name: self._cast(each) for name, each in named.items()}
        return func(*args, **named)

    def _cast(self, given: Any) -> Any:
        return given.to(self._dtype) if isinstance(given, Tensor) and given.is_floating_point() else given
