"""Small text files that a user names: read up to a limit, so that no file can fill the memory."""

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
