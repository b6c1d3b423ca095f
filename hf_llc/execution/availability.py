"""Which checkpoints of a scan are on this disk: what the one that downloads tells those that compute, through files."""

import json
import shutil
from pathlib import Path

from hf_llc.settings.files import write_atomically


class CheckpointAvailability:
    """Small files in one folder, for any number of processes. Checkpoints go by a key."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def reset(self) -> None:
        """Nothing is here and nobody has asked."""
        for folder in (self.folder / "here", self.folder / "asked"):
            shutil.rmtree(folder, ignore_errors=True)
        self._end.unlink(missing_ok=True)

    def announce(self, key: str, path: Path) -> None:
        """Mark the checkpoint as downloaded to `path`."""
        write_atomically(self._here(key), json.dumps({"path": str(path)}).encode())

    def withdraw(self, key: str) -> None:
        """Mark the checkpoint as no longer on this disk."""
        self._here(key).unlink(missing_ok=True)

    def path_of(self, key: str) -> Path | None:
        """The folder of the checkpoint; None if it is not here."""
        try:
            return Path(json.loads(self._here(key).read_bytes())["path"])
        except FileNotFoundError:
            return None

    def wanted(self, key: str) -> Path | None:
        """The folder of the checkpoint, None if it is not here; marks it as waited for or in use."""
        path = self._asked(key)
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
        return self.path_of(key)

    def is_wanted(self, key: str) -> bool:
        """True if somebody has asked for it."""
        return self._asked(key).exists()

    def close(self) -> None:
        """Mark the downloads as finished."""
        self._end.parent.mkdir(parents=True, exist_ok=True)
        self._end.touch()

    @property
    def closed(self) -> bool:
        """True if all downloads are finished."""
        return self._end.exists()

    @property
    def _end(self) -> Path:
        return self.folder / "closed"

    def _here(self, key: str) -> Path:
        return self.folder / "here" / f"{key}.json"

    def _asked(self, key: str) -> Path:
        return self.folder / "asked" / key
