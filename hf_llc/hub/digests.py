"""Contents of local files by their SHA-256, remembered while the file stays untouched: weights take long to read."""

import hashlib
import json
import time
from pathlib import Path
from typing import BinaryIO

from hf_llc.settings.files import write_atomically

SETTLED = 2.0
"""Seconds after its last change from which a file's times tell every further change apart."""


def sha256_of(path: Path, home: Path) -> str:
    """The 64 hex digits of a file's content.

    Args:
        home: what was read before is remembered below it, by the file's path, size, inode and times.
    """
    stat = path.stat()
    seen = [stat.st_size, stat.st_ino, stat.st_mtime_ns, stat.st_ctime_ns]
    memory = home / "digests" / f"{hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:32]}.json"
    if (known := _read(memory, seen)) is not None:
        return known
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if time.time() - max(stat.st_mtime, stat.st_ctime) > SETTLED:
        try:
            write_atomically(memory, json.dumps({"seen": seen, "sha256": digest}).encode())
        except OSError:
            return digest  # it is only a memory; the next call reads the file again
    return digest


def git_hash(content: BinaryIO, size: int) -> str:
    """The 40 hex digits by which git knows a file of `size` bytes: SHA-1 of `blob`, the size, a zero byte, the content.

    Source: Chacon and Straub, Pro Git (2014), section 10.2.
    """
    digest = hashlib.sha1(b"blob %d\0" % size, usedforsecurity=False)
    while piece := content.read(2**20):
        digest.update(piece)
    return digest.hexdigest()


def local_identity(path: Path) -> str:
    """`sha256:<64 hex>` of a file's content, or of the names and contents of all data files in a folder."""
    files = [path] if path.is_file() else sorted(file for file in path.rglob("*") if file.is_file())
    digest = hashlib.sha256()
    for file in files:
        with file.open("rb") as content:
            inner = hashlib.file_digest(content, "sha256")
        if path.is_file():
            return f"sha256:{inner.hexdigest()}"
        relative = file.relative_to(path)
        if not any(part.startswith(".") for part in relative.parts):
            digest.update(f"{relative.as_posix()}\0{inner.hexdigest()}\n".encode(errors="surrogateescape"))
    return f"sha256:{digest.hexdigest()}"


def _read(memory: Path, seen: list[int]) -> str | None:
    try:
        stored = json.loads(memory.read_bytes())
        return str(stored["sha256"]) if stored["seen"] == seen else None
    except (OSError, ValueError, KeyError, TypeError):
        return None
