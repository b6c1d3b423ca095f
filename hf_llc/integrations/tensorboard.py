"""Points as TensorBoard event files (tensorboard, through torch)."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hf_llc.errors import SettingsError

Values = Mapping[str, float | str]


class TensorBoardTracker:
    """One folder of event files: numbers as scalars, words as text."""

    def __init__(self, folder: Path, config: Mapping[str, Any]) -> None:
        self._writer = load()(log_dir=str(folder))
        self._writer.add_text("settings", f"```\n{json.dumps(config, indent=1, default=str)}\n```", 0)
        self.told = f"tensorboard --logdir {folder}"

    def log(self, values: Values, step: int) -> None:
        """Writes the values to disk."""
        for name, value in values.items():
            if isinstance(value, str):
                self._writer.add_text(name, value, step)
            else:
                self._writer.add_scalar(name, value, step)
        self._writer.flush()

    def close(self) -> None:
        """Closes the file."""
        self._writer.close()


def load() -> Any:
    """The writer's class.

    Raises:
        SettingsError: the library is not installed; the message says how to.
    """
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise SettingsError(
            f"--report-to tensorboard needs a package that is not here ({error}): pip install 'hf-llc[tensorboard]'"
        ) from error
    return SummaryWriter
