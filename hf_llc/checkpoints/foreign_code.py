"""Python code that a model's config takes from another repository (`other/repo--module.Class`), brought here pinned."""

import hashlib
from collections.abc import Callable
from dataclasses import replace

from hf_llc.checkpoints.code_references import code_references
from hf_llc.checkpoints.source import ModelSource
from hf_llc.errors import UnusableError
from hf_llc.hub import client
from hf_llc.hub import download as downloads
from hf_llc.hub.listings import listing


def with_code(source: ModelSource, tell: Callable[[str], None]) -> ModelSource:
    """The checkpoint with the code of another repository that its config names, if that may run.

    The code is downloaded at the commit that the default branch has now; of a local checkpoint the identity follows
    that commit.

    Raises:
        UnusableError: it names several repositories, or one that has no such file.
        SourceError: the code cannot be read.
    """
    if not source.trust_remote_code or source.path is None or source.gguf_file is not None:
        return source
    references = sorted(code_references(source.path / (source.subfolder or "")))
    repositories = sorted({repository for repository, _ in references})
    if not repositories:
        return source
    if len(repositories) > 1:
        raise UnusableError(
            f"{source.id} takes its code from {' and '.join(repositories)}, and only one repository can be pinned; "
            "copy the files beside config.json and name them in auto_map without `--`."
        )
    (repository,) = repositories
    own = repository == source.id and not source.is_local
    sha = source.sha if own else client.resolve(repository, None, "model", tell)
    files = [file for file in listing(repository, sha, tell).files if file.path.endswith(".py")]
    missing = {f"{module}.py" for _, module in references} - {file.path for file in files}
    if missing:
        raise UnusableError(f"{source.id} takes its code from {repository}, which has no {min(missing)}.")
    downloads.download(repository, sha, files, tell)
    code = f"{repository}@{sha}"
    if not source.is_local:
        return replace(source, code=code)
    identity = hashlib.sha256(f"{source.sha}\0{code}".encode()).hexdigest()
    return replace(source, code=code, sha=f"sha256:{identity}")
