"""What a forecast is of: a model and items like those of its data, without weights or data."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from hf_llc.checkpoints.loading.config import CAUSAL
from hf_llc.checkpoints.loading.load import context_limit, parameter_count, random_model
from hf_llc.checkpoints.source import ModelSource
from hf_llc.components.find import component_of
from hf_llc.errors import SettingsError
from hf_llc.execution.plan import DRAW_BATCH_SIZES
from hf_llc.sampling.objective import Objective
from hf_llc.sampling.selection import select
from hf_llc.settings.data import MAX_DEFAULT_CONTEXT, DataSettings
from hf_llc.settings.sampler import SamplerSettings
from hf_llc.tasks import DEFAULT, TASKS
from hf_llc.tasks.base import Computation, Example, TaskObjective
from hf_llc.tasks.choose import refuse_unused, task_of
from hf_llc.tasks.text_generation.head import Head
from hf_llc.tasks.text_generation.last_layer import last_layer
from hf_llc.tasks.text_generation.objective import LOGIT_BUDGET, LanguageObjective, default_micro_batch
from hf_llc.tasks.text_generation.prepare import find_labelled

FORWARD = 2
"""Floating-point operations per parameter and token of a forward pass (Kaplan et al. 2020)."""
LIVE_LOGITS = 4
"""Tensors as large as the logits that live at once: logits, log-probabilities, their gradient, a copy."""
LIVE_OUTPUTS, MOST_OUTPUTS = 2, 2**27
"""Tensors as large as what modules put out that live at once, and numbers of it in a forward pass, at most, as tasks
choose their micro-batches."""
LARGEST_TEXT = 10**6


@dataclass(frozen=True, kw_only=True)
class Subject:
    """A model and items like those of its data.

    Attributes:
        outline: the model without numbers. moving: weights that move.
        context: tokens of an item; 1 of what is no text. n: items, at most.
        items: what they are called, `tokens` of text.
        per_token: floating-point operations of a forward pass of a token, or of an item that is no text.
        live: numbers that live at once in a forward and backward pass beside weights.
        objective: the loss of so many items through a model with random weights on a device.
    """

    source: ModelSource
    outline: torch.nn.Module
    parameters: int
    moving: int
    context: int
    n: int
    items: str
    per_token: float
    live: int
    objective: Callable[[int, str], Objective]

    def of_weights(self, moving: int) -> "Subject":
        """Of which so many weights move."""
        return replace(self, moving=moving)


def subject_of(
    source: ModelSource, data: DataSettings, sampler: SamplerSettings, tell: Callable[[str], None]
) -> Subject:
    """What an estimate of the model would be of.

    Args:
        sampler: says which weights move.

    Raises:
        SettingsError: its task has no forecast, or no use for a setting, or no weight has such a name.
        HfLlcError: its files cannot be read.
    """
    name, n = task_of(source, data.task), data.max_sequences or LARGEST_TEXT
    refuse_unused(data, source, name)
    if name == DEFAULT:
        parameters, outline = parameter_count(source), random_model(source, "meta", CAUSAL)
        context = data.context_length or min(MAX_DEFAULT_CONTEXT, context_limit(source) or MAX_DEFAULT_CONTEXT)
        if (labelled := find_labelled(data, source, tell)) is not None:
            context, n = labelled.context_length, labelled.n
        elif data.loss_on in {"assistant", "completion"}:
            tell(f"The sequences are taken to be {context} tokens long; most conversations are shorter.")
        return Subject(
            source=source,
            outline=outline,
            parameters=parameters,
            moving=_moving(source, outline, sampler),
            context=context,
            n=n,
            items="tokens",
            per_token=FORWARD * parameters,
            live=LIVE_LOGITS * LOGIT_BUDGET,
            objective=lambda size, device: _of_language(source, context, size, device),
        )
    task: Any = TASKS[name]
    if not hasattr(task, "example"):
        raise SettingsError(
            f"{source.id} is for {name}, whose cost is not forecast; time a short estimate with `draws=10` instead."
        )
    example: Example = task.example(data, source, tell)
    parameters, outline = parameter_count(source, example.kind), random_model(source, "meta", example.kind)

    def objective_of(model: torch.nn.Module, size: int, device: str) -> TaskObjective:
        items = {key: tensor.to(device) for key, tensor in example.items(size).items()}
        weights = [parameter for parameter in model.parameters() if parameter.requires_grad]
        computation = Computation(batch_size=size, micro_batch_size=None, dtype=None, sharded=False)
        objective: TaskObjective = task.objective(model, items, weights, computation)
        return objective

    is_text = example.context_length > 1
    per_token, live = FORWARD * parameters, LIVE_LOGITS * LOGIT_BUDGET
    if not is_text:
        per_token, outputs = _of_an_item(outline, objective_of(outline, 1, "meta"))
        live = LIVE_OUTPUTS * min(MOST_OUTPUTS, DRAW_BATCH_SIZES[1] * outputs)
    return Subject(
        source=source,
        outline=outline,
        parameters=parameters,
        moving=_moving(source, outline, sampler),
        context=example.context_length,
        n=n,
        items="tokens" if is_text else f"{task.item}s",
        per_token=per_token,
        live=live,
        objective=lambda size, device: objective_of(random_model(source, device, example.kind), size, device),
    )


def _moving(source: ModelSource, outline: torch.nn.Module, sampler: SamplerSettings) -> int:
    """The number of different weights that move: those that are asked for, else those of an adapter, else all."""
    params = sampler.params
    if sampler.component is not None:
        return component_of(outline, sampler.component).size(dict(outline.named_parameters()))
    named = outline.named_parameters(remove_duplicate=False)
    # In an outline with an adapter nothing else requires a gradient; in the loaded model what did before may move.
    every = {name: each for name, each in named if each.requires_grad or (params and source.adapter)}
    names = select(list(every), params)
    return sum(each.numel() for each in {id(every[name]): every[name] for name in names}.values())


def _of_an_item(model: torch.nn.Module, objective: Objective) -> tuple[int, int]:
    """Floating-point operations of a forward pass of one item, and numbers that modules put out in it, counted where
    tensors have no numbers."""
    outputs = [1]

    def count(module: torch.nn.Module, inputs: Any, output: Any) -> None:
        if isinstance(output, torch.Tensor):
            outputs.append(output.numel())

    for module in model.modules():
        module.register_forward_hook(count)
    with FlopCounterMode(display=False) as counter:
        objective.losses(torch.zeros(1, dtype=torch.int64, device="meta"))
    return counter.get_total_flops(), sum(outputs)


def _of_language(source: ModelSource, context: int, size: int, device: str) -> LanguageObjective:
    """The next-token loss of random tokens."""
    model = random_model(source, device)
    vocabulary = model.get_input_embeddings().weight.shape[0]  # type: ignore[operator]
    tokens = torch.randint(vocabulary, (size, context), generator=torch.Generator().manual_seed(0)).to(device)
    layer = last_layer(model)
    weights = [parameter for parameter in model.parameters() if parameter.requires_grad]
    return LanguageObjective(
        lambda ids: model(input_ids=ids, use_cache=False).logits,
        weights,
        tokens,
        default_micro_batch(size, context, vocabulary, layer.activations if layer else None),
        Head(layer.hidden, layer.weight, layer.bias) if layer else None,
    )
