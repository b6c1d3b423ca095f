"""Points on a Trackio board (trackio): on this machine, or where its own environment variables say."""

import io
from collections.abc import Mapping
from contextlib import redirect_stdout
from types import ModuleType
from typing import Any

from hf_llc.errors import SettingsError

Values = Mapping[str, float | str]


class TrackioTracker:
    """One run of a project. It is continued if there is one of that name; nothing is served and no hardware watched."""

    def __init__(self, project: str, run: str, config: Mapping[str, Any]) -> None:
        self._trackio: Any = load()
        # It talks on stdout, which is for data.
        with redirect_stdout(io.StringIO()):
            try:
                self._run = self._trackio.init(
                    project,
                    name=run,
                    config=dict(config),
                    resume="allow",
                    embed=False,
                    auto_log_gpu=False,
                    auto_log_cpu=False,
                )
            except ValueError as error:
                raise SettingsError(f"--trackio {project} is no name for a project ({error}).") from error
        self.told = f'trackio show --project "{project}"'

    def log(self, values: Values, step: int) -> None:
        """Hands the values over; a thread of the library writes them down."""
        self._run.log(dict(values), step=step)

    def close(self) -> None:
        """Returns once everything is written."""
        with redirect_stdout(io.StringIO()):
            self._trackio.finish()


def load() -> ModuleType:
    """The library.

    Raises:
        SettingsError: it is not installed; the message says how to.
    """
    try:
        import trackio
    except ImportError as error:
        raise SettingsError(
            f"--trackio needs a package that is not here ({error}): pip install 'hf-llc[trackio]'"
        ) from error
    return trackio
