"""Points as TensorBoard event files (tensorboard, through torch)."""

import json
from typing import Any

from hf_llc.errors import SettingsError
from hf_llc.integrations.trackers.base import TrackedRun, Values


class TensorBoardTracker:
    """One folder of event files: numbers as scalars, words as text."""

    def __init__(self, run: TrackedRun) -> None:
        folder = run.folder / "tensorboard" / run.part
        self._writer = _writer_class()(log_dir=str(folder))
        self._writer.add_text("settings", f"```\n{json.dumps(run.config, indent=1, default=str)}\n```", 0)
        self.view_command = f"tensorboard --logdir {folder}"

    @staticmethod
    def require() -> None:
        """Raise SettingsError if tensorboard is not installed."""
        _writer_class()

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


def _writer_class() -> Any:
    """The writer's class.

    Raises:
        SettingsError: the library is not installed; the message says how to.
    """
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise SettingsError(
            f"--report-to tensorboard needs a package that is not installed ({error}): pip install "
            "'hf-llc[tensorboard]'"
        ) from error
    return SummaryWriter


TRACKER = TensorBoardTracker
