"""Which files of a checkpoint on the Hub are read: by its listing, and by its shard index where it has one."""

from collections.abc import Callable, Mapping

from hf_llc.checkpoints.files import ModelFiles, choose, has_tokenizer, inside
from hf_llc.hub import client
from hf_llc.hub import download as downloads

Tell = Callable[[str], None]


def chosen_of(
    repo_id: str,
    sha: str,
    known: Mapping[str, client.RemoteFile],
    tell: Tell,
    *,
    subfolder: str | None = None,
    gguf_file: str | None = None,
    trust_remote_code: bool = False,
) -> ModelFiles:
    """What is read of a commit, see `files.choose`; the shard index is downloaded if there is one.

    Args:
        known: the files of the commit by their paths.

    Raises:
        NotFoundError, UnusableError: see `files.choose`.
        SourceError: the index cannot be read.
    """
    prefix = f"{subfolder}/" if subfolder else ""

    def read(name: str) -> bytes:
        return (downloads.download(repo_id, sha, [known[prefix + name]], tell) / prefix / name).read_bytes()

    names = inside(known, subfolder)
    return choose(names, gguf_file=gguf_file, trust_remote_code=trust_remote_code, read=read)


def files_of(
    known: Mapping[str, client.RemoteFile], subfolder: str | None, chosen: ModelFiles
) -> tuple[list[client.RemoteFile], list[client.RemoteFile]]:
    """The small files of a checkpoint, with the tokenizer above it if it has none itself, and its weights."""
    prefix = f"{subfolder}/" if subfolder else ""
    small = [known[prefix + name] for name in chosen.small]
    if subfolder and not has_tokenizer(chosen.small):
        small += [known[name] for name in choose(known).small if name not in {file.path for file in small}]
    return small, [known[prefix + name] for name in chosen.weights]
