"""Points on a Trackio board (trackio): on this machine, or where its own environment variables say."""

import io
from contextlib import redirect_stdout, suppress
from types import ModuleType
from typing import Any

from hf_llc.errors import SettingsError
from hf_llc.integrations.trackers.base import TrackedRun, Values


class TrackioTracker:
    """One run of a project. It is continued if there is one of that name; nothing is served and no hardware watched."""

    def __init__(self, run: TrackedRun) -> None:
        self._trackio: Any = _library()
        self._project, self._name, self._config = run.project, run.name, dict(run.config)
        try:
            self._run: Any = self._begun()
        except ValueError as error:
            raise SettingsError(f"--trackio {run.project} is not a valid project name ({error}).") from error
        self.view_command = f'trackio show --project "{run.project}"'

    @staticmethod
    def require() -> None:
        """Raise SettingsError if trackio is not installed."""
        _library()

    def log(self, values: Values, step: int) -> None:
        """Returns once the values are written, which the library promises only of a run that is finished."""
        run, self._run = self._run or self._begun(), None
        with redirect_stdout(io.StringIO()):
            run.log(dict(values), step=step)
            run.finish()

    def close(self) -> None:
        """Ends what is open; to be called by the thread that made the tracker."""
        # The library would end it at exit, and say so on stdout. It knows nothing of runs that other threads began.
        with redirect_stdout(io.StringIO()), suppress(RuntimeError):
            if self._run is not None:
                # Of several runs the library knows the one that began last.
                self._run.finish()
            self._trackio.finish()

    def _begun(self) -> Any:
        # It talks on stdout, which is for data.
        with redirect_stdout(io.StringIO()):
            return self._trackio.init(
                self._project,
                name=self._name,
                config=self._config,
                resume="allow",
                embed=False,
                auto_log_gpu=False,
                auto_log_cpu=False,
            )


def _library() -> ModuleType:
    """The library.

    Raises:
        SettingsError: it is not installed; the message says how to.
    """
    try:
        import trackio
    except ImportError as error:
        raise SettingsError(
            f"--trackio needs a package that is not installed ({error}): pip install 'hf-llc[trackio]'"
        ) from error
    return trackio


TRACKER = TrackioTracker
