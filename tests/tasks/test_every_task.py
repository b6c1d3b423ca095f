"""What each task must keep to: the loss of an item is its own, and computing it changes nothing."""

import random
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor

from hf_llc import DataSettings, ModelSettings
from hf_llc.checkpoints.resolve import find_model
from hf_llc.tasks import TASKS
from hf_llc.tasks.base import Computation, TaskObjective
from hf_llc.tasks.choose import find_items
from hf_llc.tasks.regression import save_data
from tests.helpers import tiny_images
from tests.helpers.tiny_chat import conversations, make_gemma, pairs, save_chat_model
from tests.helpers.tiny_model import jsonl, save_tiny_model
from tests.helpers.tiny_regression import data_of, make_model
from tests.helpers.tiny_text_models import (
    labelled,
    save_bert_classifier,
    save_masked_bert,
    save_neox_classifier,
    write_rows,
)
from tests.hub_server.environment import use_hub

TOLERANCE = 1e-6


def text_generation(folder: Path) -> tuple[Path, Path]:
    """A tiny language model and text."""
    text = folder / "text.jsonl"
    text.write_text(jsonl(60))
    return save_tiny_model(folder / "model"), text


def text_generation_of_conversations(folder: Path) -> tuple[Path, Path]:
    """A tiny Llama and conversations of several lengths, of which the assistant's tokens count."""
    return save_chat_model(folder / "model"), write_rows(folder / "chats.jsonl", conversations(30))


def text_generation_of_completions(folder: Path) -> tuple[Path, Path]:
    """A tiny Gemma, and prompts with their completion."""
    saved = save_chat_model(folder / "model", bos=True, model=make_gemma())
    return saved, write_rows(folder / "pairs.jsonl", pairs(30))


def image_classification(folder: Path) -> tuple[Path, Path]:
    """A tiny ResNet whose batch norm has seen images, and images."""
    model = tiny_images.train(tiny_images.make_model(), 5)
    saved = tiny_images.save_model(model, folder / "model", processor=tiny_images.make_processor())
    return saved, tiny_images.save_parquet(folder / "images.parquet", 24)


def text_classification(folder: Path) -> tuple[Path, Path]:
    """A tiny BERT for two classes, and texts of several lengths."""
    return save_bert_classifier(folder / "model"), write_rows(folder / "rows.jsonl", labelled(30))


def text_classification_by_a_decoder(folder: Path) -> tuple[Path, Path]:
    """A tiny GPT-NeoX for two classes, which scores the last token and knows no padding, and texts."""
    return save_neox_classifier(folder / "model"), write_rows(folder / "rows.jsonl", labelled(30))


def fill_mask(folder: Path) -> tuple[Path, Path]:
    """A tiny BERT that predicts masked words, and text."""
    text = folder / "text.jsonl"
    text.write_text(jsonl(60))
    return save_masked_bert(folder / "model"), text


def regression(folder: Path) -> tuple[Path, Path]:
    """A deep linear network, and inputs with noisy targets."""
    make_model((5, 4, 3)).save_pretrained(folder / "model")
    return folder / "model", save_data(folder / "data.safetensors", *data_of((5, 4, 3), 40))


CASES: Mapping[str, Callable[[Path], tuple[Path, Path]]] = {
    "text-generation": text_generation,
    "text-generation, conversations": text_generation_of_conversations,
    "text-generation, completions": text_generation_of_completions,
    "image-classification": image_classification,
    "text-classification": text_classification,
    "text-classification, decoder": text_classification_by_a_decoder,
    "fill-mask": fill_mask,
    "regression": regression,
}
"""A model and data for each task, and after a comma what is particular about them."""


class Loaded(NamedTuple):
    """A model and its objective."""

    model: torch.nn.Module
    objective: TaskObjective


@pytest.fixture(scope="module", params=list(CASES))
def loaded(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Loaded:
    """Each task's own case, three items a forward pass."""
    folder = tmp_path_factory.mktemp("case")
    with pytest.MonkeyPatch.context() as patch:
        use_hub(patch, "http://127.0.0.1:9", folder / "hf_home")
        model, data = CASES[request.param](folder)
        source = find_model(ModelSettings(model=str(model)))
        is_text = request.param.partition(",")[0] not in {"image-classification", "regression"}
        corpus = find_items(DataSettings(dataset=str(data), context_length=32 if is_text else None), source)
        assert corpus.task == request.param.partition(",")[0]
        task = TASKS[corpus.task]
        items = task.load_items(corpus)
        assert {len(tensor) for tensor in items.values()} == {corpus.n}
        network = task.load_model(source, "cpu", 1)
        task.refuse(network, items)
    parameters = [parameter for parameter in network.parameters() if parameter.requires_grad]
    computation = Computation(batch_size=8, micro_batch_size=3, dtype=None, sharded=False)
    return Loaded(network, task.objective(network, items, parameters, computation))


def test_every_task_has_a_case() -> None:
    assert {name.partition(",")[0] for name in CASES} == set(TASKS) - {"own-module"}


def test_the_loss_of_an_item_does_not_depend_on_its_batch(loaded: Loaded) -> None:
    items = torch.tensor([5, 0, 3, 7, 2, 6, 1])
    together = loaded.objective.losses(items)
    alone = torch.cat([loaded.objective.losses(item[None]) for item in items])
    assert together.shape == (7,)
    assert together.dtype == torch.float32
    assert float((together - alone).abs().max()) < TOLERANCE
    assert float(together.std()) > 100 * TOLERANCE


def test_computing_losses_and_gradients_changes_no_tensor_and_draws_no_random_numbers(loaded: Loaded) -> None:
    before = {name: tensor.clone() for name, tensor in loaded.model.state_dict().items()}
    before |= {name: tensor.clone() for name, tensor in loaded.model.named_buffers()}
    states = torch.get_rng_state(), random.getstate(), str(np.random.get_state())
    loaded.objective.losses(torch.arange(8))
    loaded.objective.losses_and_gradient(torch.arange(8))
    after = {**loaded.model.state_dict(), **dict(loaded.model.named_buffers())}
    assert [name for name, tensor in before.items() if not torch.equal(tensor, after[name])] == []
    assert torch.equal(states[0], torch.get_rng_state())
    assert states[1:] == (random.getstate(), str(np.random.get_state()))
    assert not loaded.model.training


def test_losses_with_their_gradient_are_the_losses_and_the_gradient_is_that_of_their_mean(loaded: Loaded) -> None:
    objective, items, step = loaded.objective, torch.arange(7), 1e-2
    losses = objective.losses_and_gradient(items)
    assert float((losses - objective.losses(items)).abs().max()) < TOLERANCE
    gradients = [gradient_of(parameter) for parameter in objective.parameters]
    # One item at a time, so that micro-batches have no part in it.
    sums = [torch.zeros_like(gradient) for gradient in gradients]
    for item in items:
        objective.losses_and_gradient(item[None])
        for total, parameter in zip(sums, objective.parameters, strict=True):
            total += gradient_of(parameter)
    assert (
        max(float((total / 7 - gradient).abs().max()) for total, gradient in zip(sums, gradients, strict=True)) < 1e-5
    )
    # And along the gradient the mean loss rises by its square.
    norm = torch.stack([gradient.square().sum() for gradient in gradients]).sum().sqrt()
    means = []
    for sign in (1, -1):
        with torch.no_grad():
            for parameter, gradient in zip(objective.parameters, gradients, strict=True):
                parameter += sign * step * gradient / norm
            means.append(objective.losses(items).double().mean())
            for parameter, gradient in zip(objective.parameters, gradients, strict=True):
                parameter -= sign * step * gradient / norm
    assert float(means[0] - means[1]) / (2 * step) == pytest.approx(float(norm), rel=0.02)


def gradient_of(parameter: Tensor) -> Tensor:
    """The gradient that was left, zero for none; a copy."""
    return torch.zeros_like(parameter) if parameter.grad is None else parameter.grad.clone()
