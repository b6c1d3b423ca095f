"""Which task a model is for, and the items of that task."""

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from hf_llc.checkpoints.source import Corpus, ModelSource
from hf_llc.errors import UnusableError
from hf_llc.settings.data import DataSettings
from hf_llc.tasks import DEFAULT, TASKS


def task_of(source: ModelSource, asked: str | None = None) -> str:
    """The name of the task that was asked for, else of the one that claims the model; DEFAULT if none does.

    Args:
        source: with its `config.json` on this disk.

    Raises:
        SettingsError: there is no such task. UnusableError: several tasks claim the model.
    """
    if asked is not None:
        TASKS.check("task", asked)
        return asked
    config = _config(source)
    claiming = [name for name, task in TASKS.items() if name != DEFAULT and task.claims(config)]
    if len(claiming) > 1:
        raise UnusableError(f"{source.id} is claimed by the tasks {', '.join(claiming)}; choose one with `task`.")
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
    return replace(TASKS[name].find_items(data, source, tokenizer=tokenizer, tell=tell), task=name)


def _config(source: ModelSource) -> Mapping[str, Any]:
    """What `config.json` says; nothing if there is none that can be read, which loading the model says."""
    if source.path is None:
        return {}
    try:
        config = json.loads((source.path / (source.subfolder or "") / "config.json").read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    return config if isinstance(config, dict) else {}
