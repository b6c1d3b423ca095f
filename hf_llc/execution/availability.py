"""Which checkpoints of a scan are downloaded: files by which the downloading process tells the computing ones."""

import json
import shutil
from pathlib import Path

from hf_llc.settings.files import write_atomically


class CheckpointAvailability:
    """Marker files in one folder, shared by any number of processes; a checkpoint is named by a key."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def reset(self) -> None:
        """Clear all availability and request markers."""
        for folder in (self.folder / "here", self.folder / "asked"):
            shutil.rmtree(folder, ignore_errors=True)
        self._end.unlink(missing_ok=True)

    def mark_ready(self, key: str, path: Path) -> None:
        """Mark the checkpoint as downloaded to `path`."""
        write_atomically(self._here(key), json.dumps({"path": str(path)}).encode())

    def mark_removed(self, key: str) -> None:
        """Mark the checkpoint as removed from disk."""
        self._here(key).unlink(missing_ok=True)

    def path_of(self, key: str) -> Path | None:
        """The folder of the checkpoint; None until it is downloaded."""
        try:
            return Path(json.loads(self._here(key).read_bytes())["path"])
        except FileNotFoundError:
            return None

    def request(self, key: str) -> Path | None:
        """Mark the checkpoint as needed; return its folder, or None until it is downloaded."""
        path = self._asked(key)
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
        return self.path_of(key)

    def is_requested(self, key: str) -> bool:
        """True if a process has requested the checkpoint."""
        return self._asked(key).exists()

    def mark_finished(self) -> None:
        """Mark the downloads as finished."""
        self._end.parent.mkdir(parents=True, exist_ok=True)
        self._end.touch()

    @property
    def is_finished(self) -> bool:
        """True if all downloads are finished."""
        return self._end.exists()

    @property
    def _end(self) -> Path:
        return self.folder / "closed"

    def _here(self, key: str) -> Path:
        return self.folder / "here" / f"{key}.json"

    def _asked(self, key: str) -> Path:
        return self.folder / "asked" / key
