"""The content of one file: bytes or a file on disk, with the hashes by which the Hub names it."""

import hashlib
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path

LFS_SUFFIXES = (".arrow", ".bin", ".gguf", ".h5", ".msgpack", ".parquet", ".pt", ".safetensors")
IN_MEMORY_BYTES = 8 * 2**20
CHUNK_BYTES = 256 * 2**10


class Blob:
    """Content that never changes once made; `lfs` says which of the two naming schemes applies.

    A `Path` is read piece by piece at every use, so a checkpoint of any size can be served.
    """

    def __init__(self, content: bytes | Path, lfs: bool = False) -> None:
        self.content = content
        self.lfs = lfs
        self.size = len(content) if isinstance(content, bytes) else content.stat().st_size
        self._modified = None if isinstance(content, bytes) else content.stat().st_mtime_ns

    @classmethod
    def of(cls, content: "bytes | str | Path | Blob", path: str) -> "Blob":
        """The blob for `content` stored at `path`; the suffix decides whether it counts as LFS."""
        if isinstance(content, Blob):
            return content
        if isinstance(content, str):
            content = content.encode()
        # A small file is copied, because tests like to save the next checkpoint over the last one.
        if isinstance(content, Path) and content.stat().st_size <= IN_MEMORY_BYTES:
            content = content.read_bytes()
        return cls(content, lfs=path.endswith(LFS_SUFFIXES))

    def chunks(self, start: int = 0, stop: int | None = None, size: int = CHUNK_BYTES) -> Iterator[bytes]:
        """The bytes from `start` to `stop`, at most `size` at a time."""
        stop = self.size if stop is None else stop
        if isinstance(self.content, bytes):
            for begin in range(start, stop, size):
                yield self.content[begin : min(begin + size, stop)]
            return
        with self.content.open("rb") as file:
            if self.content.stat().st_mtime_ns != self._modified:
                raise RuntimeError(f"{self.content} changed on disk after it was committed")
            file.seek(start)
            for begin in range(start, stop, size):
                yield file.read(min(size, stop - begin))

    def read(self, start: int = 0, stop: int | None = None) -> bytes:
        """The bytes from `start` to `stop`."""
        return b"".join(self.chunks(start, stop))

    @cached_property
    def sha256(self) -> str:
        """The name of the content in LFS storage."""
        digest = hashlib.sha256()
        for chunk in self.chunks():
            digest.update(chunk)
        return digest.hexdigest()

    @cached_property
    def git_sha1(self) -> str:
        """The name git gives to the content itself."""
        digest = hashlib.sha1(b"blob %d\0" % self.size)
        for chunk in self.chunks():
            digest.update(chunk)
        return digest.hexdigest()

    @cached_property
    def pointer(self) -> bytes:
        """What git stores in place of an LFS file."""
        return f"oid sha256:{self.sha256}\nsize {self.size}\n".encode()

    @cached_property
    def oid(self) -> str:
        """The id in a tree listing: of the content, or of the pointer for an LFS file."""
        return Blob(self.pointer).git_sha1 if self.lfs else self.git_sha1

    @property
    def etag(self) -> str:
        """The name under which a client caches the content."""
        return self.sha256 if self.lfs else self.git_sha1
