"""Files read up to a limit, so that none can fill the memory, and written whole or not at all."""

import os
import secrets
from pathlib import Path

from hf_llc.errors import NotFoundError, SettingsError

LARGEST_LIST = 2**20
"""Bytes of a list of names; one of all revisions of a model has some ten thousand."""


def read_text(path: Path, option: str, largest: int) -> str:
    """The file's text, UTF-8 with or without a byte order mark.

    Args:
        option: what the message says that was given, such as `--settings`. largest: its bytes, at most.

    Raises:
        NotFoundError: if it cannot be read. SettingsError: if it is larger, or no text.
    """
    try:
        with path.expanduser().open("rb") as file:
            content = file.read(largest + 1)
    except (OSError, RuntimeError, ValueError) as error:
        # No such home directory and a NUL in a path are no errors of the system.
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise NotFoundError(f"{option} {path} cannot be read ({reason}).") from error
    if len(content) > largest:
        raise SettingsError(f"{option} {path} has more than {largest} bytes, too many for such a file.")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise SettingsError(f"{option} {path} cannot be read as text: byte {error.start} is not UTF-8.") from error


def write_atomically(path: Path, content: bytes) -> None:
    """Puts `content` at `path` so that a reader sees the old file or the new one, never a part, even after a crash."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.parent / f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}.tmp"
    # Not tempfile: its files are for their owner alone, and results are for whoever may read the folder.
    handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
