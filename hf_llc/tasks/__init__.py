"""Tasks, one a file or folder: from a model and data to a loss per item. `TASK` says how, and in which words.

To add one, write its file: see `base.Task`. The file `image_classification.py` is the task `image-classification`, the
name that the Hub has for it.
"""

from typing import TYPE_CHECKING

from hf_llc.settings.registry import Registry

if TYPE_CHECKING:
    from hf_llc.tasks.base import Task

TASKS: Registry["Task"] = Registry("hf_llc.tasks", "TASK")
DEFAULT = "text-generation"
"""The task of a model that no other task claims."""
