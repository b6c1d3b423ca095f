"""Which task a model is for, and the items of that task."""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from transformers.models.auto.modeling_auto import MODEL_FOR_MASKED_LM_MAPPING_NAMES

from hf_llc.checkpoints.adapter import TASK_TYPES, read_adapter_config
from hf_llc.checkpoints.source import Corpus, ModelSource
from hf_llc.errors import HfLlcError, UnusableError
from hf_llc.settings.bounds import require
from hf_llc.settings.data import DataSettings
from hf_llc.tasks import DEFAULT, TASKS
from hf_llc.tasks.in_memory import called

_HEADLESS = re.compile(r"(?<!LMHead)(?<!DoubleHeads)Model$")
"""Classes of transformers that end in hidden states."""


def task_of(source: ModelSource, asked: str | None = None) -> str:
    """The name of the task that was asked for, else of the one that claims the model; DEFAULT if none does.

    Args:
        source: with its `config.json` on this disk.

    Raises:
        SettingsError: there is no such task. UnusableError: several tasks claim the model, or it is an encoder without
            the head of any, or an adapter that was trained for another task than its base.
    """
    if asked is not None:
        TASKS.check("task", asked)
    name = asked or _claiming(source.whole)
    if source.adapter:
        _refuse_other_adapter(source, name)
    return name


def _claiming(source: ModelSource) -> str:
    config = _config(source)
    claiming = [name for name, task in TASKS.items() if name != DEFAULT and task.claims(config)]
    if len(claiming) > 1:
        raise UnusableError(f"{source.id} is claimed by the tasks {', '.join(claiming)}; choose one with `task`.")
    if not claiming:
        _refuse_encoder(source, config)
    return claiming[0] if claiming else DEFAULT


def find_items(
    data: DataSettings,
    source: ModelSource,
    *,
    tokenizer: ModelSource | None = None,
    tell: Callable[[str], None] = lambda message: None,
) -> Corpus:
    """The data as the items of the model's task, pinned and on this disk; made once for the same inputs.

    Raises:
        HfLlcError: see `base.Task.find_items`.
    """
    name = task_of(source, data.task)
    refuse_unused(data, source, name)
    try:
        corpus = TASKS[name].find_items(data, source, tokenizer=tokenizer, tell=tell)
    except HfLlcError as error:
        message = str(error)
        for dataset in data.datasets:
            message = message.replace(dataset, called(dataset))
        raise (type(error)(message) if message != str(error) else error) from error.__cause__
    return replace(corpus, task=name)


def refuse_unused(data: DataSettings, source: ModelSource, name: str) -> None:
    """Raise SettingsError if a setting was given that the items of this task have no use for."""
    has_tokens = name == DEFAULT or TASKS[name].needs_tokenizer(data)
    of_tokens, of_classes = "tasks on text", "tasks with classes or targets"
    for setting, given, of_use, tasks in (
        ("loss_on", data.loss_on != "auto", name == DEFAULT, DEFAULT),
        ("bos", data.bos != "auto", name == DEFAULT, DEFAULT),
        ("context_length", data.context_length is not None, has_tokens, of_tokens),
        ("label_column", data.label_column is not None, name not in {DEFAULT, "fill-mask"}, of_classes),
    ):
        require(of_use or not given, f"{setting} is for {tasks}, and {source.id} is for {name}; leave it out.")


def _refuse_other_adapter(source: ModelSource, task: str) -> None:
    """Raise UnusableError if an adapter says that it was trained for another task."""
    trained = read_adapter_config(source).task if source.path is not None else None
    if trained is not None and TASK_TYPES.get(trained) != task:
        raise UnusableError(
            f"{source.id} was trained for {trained} (task_type), and its base {source.whole.id} is a model for {task}; "
            "save the two as one model with its head (`merge_and_unload` of peft), and name that."
        )


def _refuse_encoder(source: ModelSource, config: Mapping[str, Any]) -> None:
    """Raise UnusableError for an encoder without a head, whose loss nothing defines."""
    names = config.get("architectures")
    if not isinstance(names, list) or not names or config.get("is_decoder"):
        return
    headless = [str(name) for name in names if _HEADLESS.search(str(name))]
    if len(headless) == len(names) and str(config.get("model_type")) in MODEL_FOR_MASKED_LM_MAPPING_NAMES:
        stem = headless[0].removesuffix("Model")
        raise UnusableError(
            f"{source.id} is a {headless[0]}, an encoder without a head, and has no loss; name a checkpoint with one: "
            f"{stem}ForMaskedLM for fill-mask, {stem}ForSequenceClassification for text-classification."
        )


def _config(source: ModelSource) -> Mapping[str, Any]:
    """What `config.json` says; nothing if there is none that can be read, which loading the model says."""
    if source.path is None:
        return {}
    try:
        config = json.loads((source.path / (source.subfolder or "") / "config.json").read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    return config if isinstance(config, dict) else {}
