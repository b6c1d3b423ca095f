"""`hf_llc.find_components`: the parts of a model by name, from its config alone."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from torch import nn

from hf_llc.checkpoints.loading.load import random_model
from hf_llc.checkpoints.resolve import find_model
from hf_llc.checkpoints.source import ModelSource
from hf_llc.components.find import components_of, of_kinds
from hf_llc.errors import SettingsError, UnusableError
from hf_llc.settings.bounds import checked_arguments
from hf_llc.settings.component import KINDS
from hf_llc.settings.model import ModelSettings
from hf_llc.tasks import TASKS
from hf_llc.tasks.choose import task_of


class Part(NamedTuple):
    """A component of a model: its name, the list that it belongs to, and its weights."""

    name: str
    kind: str
    weights: int


@checked_arguments
def find_components(
    model: Any,
    kinds: str | Sequence[str] = "all",
    *,
    task: str | None = None,
    tell: Callable[[str], None] = lambda message: None,
) -> list[Part]:
    """The components of a model in the order of its layers; no weights are downloaded.

    Args:
        model: a Hub id, a folder, ModelSettings, or a torch module.
        kinds: `heads`, `groups` (of heads that share keys and values), `keys-values`, `attention`, `mlps`, `layers`,
            `embeddings`, `norms`, or `all`.
        task: as of `DataSettings`; None finds it out. tell: called with lines worth reading.

    Raises:
        SettingsError: there is no such kind, or the model has no components of it. HfLlcError: its config cannot be
            read.
    """
    wanted = [kinds] if isinstance(kinds, str) else list(kinds)
    if unknown := next((kind for kind in wanted if kind not in KINDS), None):
        raise SettingsError(f"kinds must be of {', '.join(KINDS)}, got {unknown}.")
    if isinstance(model, nn.Module):
        module = model
    elif isinstance(model, ModelSettings | str | Path):
        asked = model if isinstance(model, ModelSettings) else ModelSettings(model=str(model))
        module = outline_of(find_model(asked, download=False, tell=tell), task)
    else:
        raise SettingsError(
            f"model must be a Hub id, a folder, ModelSettings or a torch module, got {type(model).__name__}."
        )
    known, tensors = components_of(module), dict(module.named_parameters())
    names = of_kinds(known, wanted)
    if not names:
        raise SettingsError(
            f"{type(module).__name__} has no {', '.join(wanted)} that are known; it has "
            f"{', '.join(dict.fromkeys(each.kind for each in known.values()))}."
        )
    return [Part(name, known[name].kind, known[name].size(tensors)) for name in names]


def outline_of(source: ModelSource, task: str | None = None) -> nn.Module:
    """The model as its config says, without weights.

    Raises:
        UnusableError: its config is not one of a model, or its task builds models in a way of its own.
    """
    name = task_of(source, task)
    of_task: Any = TASKS[name]
    if not hasattr(of_task, "kind"):
        raise UnusableError(f"{source.id} is for {name}, whose models are known by their weights only.")
    return random_model(source, "meta", of_task.kind)
