"""Deep linear networks, f(x) = W_L … W_1 x, as a model of transformers: saved, loaded and scanned as any other."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor
from transformers import AutoConfig, AutoModel, PretrainedConfig, PreTrainedModel
from transformers import initialization as init
from transformers.utils.generic import ModelOutput

MODEL_TYPE = "deep-linear"


class DeepLinearConfig(PretrainedConfig):
    """The shape of a deep linear network.

    Args:
        widths: numbers of an input, of each layer between, and of an output; L + 1 of them for L factors.
        initializer_scale: weights begin as normal numbers of this standard deviation over √(columns of the factor).
            Small ones, 0.1 and below, learn one direction of the target after another.

    Raises:
        ValueError: fewer than two widths, or one that is no whole number ≥ 1; a scale that is not ≥ 0.
    """

    model_type = MODEL_TYPE

    def __init__(self, widths: Sequence[int] = (20, 20, 20), initializer_scale: float = 1.0, **kwargs: Any) -> None:
        whole = isinstance(widths, list | tuple) and all(type(width) is int and width >= 1 for width in widths)
        if not whole or len(widths) < 2:
            raise ValueError(f"widths must be two or more whole numbers ≥ 1, such as [20, 20, 20], got {widths!r}")
        if isinstance(initializer_scale, bool) or not 0 <= initializer_scale < float("inf"):
            raise ValueError(f"initializer_scale must be ≥ 0, got {initializer_scale!r}")
        self.widths = list(widths)
        self.initializer_scale = initializer_scale
        super().__init__(**kwargs)


@dataclass
class DeepLinearOutput(ModelOutput):
    """What the network gives.

    Attributes:
        loss: mean of ½ ‖y − f(x)‖² where targets were given. predictions: f(x), (m, outputs).
    """

    loss: Tensor | None = None
    predictions: Tensor | None = None


class DeepLinearModel(PreTrainedModel):
    """f(x) = W_L … W_1 x without biases; `layers[l].weight` is W_(l+1), of shape (widths[l+1], widths[l])."""

    config_class = DeepLinearConfig
    main_input_name = "inputs"

    def __init__(self, config: DeepLinearConfig) -> None:
        super().__init__(config)
        self.layers = torch.nn.ModuleList(
            torch.nn.Linear(before, after, bias=False) for before, after in pairwise(config.widths)
        )
        self.post_init()  # type: ignore[no-untyped-call]

    @property
    def factors(self) -> list[Tensor]:
        """W_1, …, W_L."""
        return [layer.weight for layer in self.layers if isinstance(layer, torch.nn.Linear)]

    def _init_weights(self, module: torch.nn.Module) -> None:
        if isinstance(module, torch.nn.Linear):
            init.normal_(module.weight, std=self.config.initializer_scale / module.in_features**0.5)

    def forward(self, inputs: Tensor, targets: Tensor | None = None, **_: Any) -> DeepLinearOutput:
        """Predictions for inputs of shape (m, widths[0]), and with targets (m, widths[-1]) the loss of a Trainer."""
        predictions = inputs
        for layer in self.layers:
            predictions = layer(predictions)
        loss = None if targets is None else squared_errors(predictions, targets).mean()
        return DeepLinearOutput(loss=loss, predictions=predictions)


def squared_errors(predictions: Tensor, targets: Tensor) -> Tensor:
    """½ ‖y − f(x)‖² of each item, (m,): −log of a Gaussian density around f(x) of variance 1 per output, less the
    constant ½ log 2π an output, which no weight changes."""
    errors: Tensor = (predictions - targets).square().sum(dim=1).div(2)
    return errors


# Known to transformers by its type from here on, so that AutoModel loads it without code in the checkpoint's folder.
AutoConfig.register(MODEL_TYPE, DeepLinearConfig, exist_ok=True)
AutoModel.register(DeepLinearConfig, DeepLinearModel, exist_ok=True)
