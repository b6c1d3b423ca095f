"""The secret with which the processes of one launch sign what they tell each other."""

import os
import secrets
import stat
from pathlib import Path

from hf_llc.errors import LaunchError

VARIABLE = "HF_LLC_SECRET"
SHORTEST = 16
"""Fewest characters of a secret that a user chose."""
WAY_OUT = f"Set {VARIABLE} to one random text on every machine, such as `head -c 32 /dev/urandom | base64` prints"


def random_secret() -> str:
    """A new one: 256 bits as hexadecimal digits."""
    return secrets.token_hex(32)


def shared_secret() -> str:
    """What the launch put into HF_LLC_SECRET, or else the content of a file of this user in HF_HOME, made if need be.

    The file serves launches that do not go through `launcher.launch`: processes on one machine have it in common, and
    so have machines that share a home directory.

    Raises:
        LaunchError: the variable holds too short a text; the file cannot be written, or others may read or own it.
    """
    secret = os.environ.get(VARIABLE)
    if secret is None:
        return _of_file()
    if len(secret) < SHORTEST:
        raise LaunchError(f"{VARIABLE} has {len(secret)} characters; it must have at least {SHORTEST}. {WAY_OUT}.")
    return secret


def _of_file() -> str:
    from huggingface_hub import constants

    path = Path(constants.HF_HOME) / f"hf-llc-secret-{_user()}"
    try:
        if not path.exists():
            _make(path)
        about = path.stat(follow_symlinks=False)
        content = path.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise LaunchError(f"{path} cannot hold the secret of this launch ({error}). {WAY_OUT}.") from error
    if about.st_uid != _user() or stat.S_IMODE(about.st_mode) & 0o077 or len(content) < SHORTEST:
        raise LaunchError(
            f"{path} is no valid secret: it is empty, or others own or can read it. Remove it. {WAY_OUT}."
        )
    return content


def _make(path: Path) -> None:
    """Writes a new secret there, unless another process has just done so."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.name}.{random_secret()[:8]}.tmp")
    with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="ascii") as file:
        file.write(random_secret())
    try:
        os.link(temporary, path)
    except FileExistsError:
        pass
    finally:
        temporary.unlink()


def _user() -> int:
    return os.getuid() if hasattr(os, "getuid") else 0
