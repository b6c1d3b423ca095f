"""Which content a name stands for now: a commit on the Hub, a hash of files on this disk."""

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from hf_llc.checkpoints.files import ADAPTER_CONFIG, ModelFiles
from hf_llc.errors import ResourceError
from hf_llc.hub import client
from hf_llc.hub.digests import local_identity, sha256_of
from hf_llc.hub.errors import endpoint
from hf_llc.hub.reference import Reference, parse_datasets
from hf_llc.settings.data import SEPARATOR, DataSettings


class PinnedDataset(NamedTuple):
    """A dataset and the content that it has now."""

    reference: Reference
    revision: str

    @property
    def name(self) -> str:
        """The id on the Hub, or the name of a local file or folder, wherever it is."""
        return self.reference.id if self.reference.path is None else self.reference.path.name


def pinned_datasets(data: DataSettings, tell: Callable[[str], None]) -> list[PinnedDataset]:
    """The datasets of the loss, each with its revision, in their order.

    Raises:
        HfLlcError: see `parse_datasets` and `dataset_revision`.
    """
    references = parse_datasets(data.datasets, data.revision, endpoint())
    return [PinnedDataset(reference, dataset_revision(reference, tell)) for reference in references]


def data_revision(data: DataSettings, tell: Callable[[str], None]) -> str:
    """The revisions of the datasets of the loss as one string.

    Raises:
        HfLlcError: see `pinned_datasets`.
    """
    return SEPARATOR.join(each.revision for each in pinned_datasets(data, tell))


def dataset_revision(reference: Reference, tell: Callable[[str], None]) -> str:
    """The commit SHA of a dataset, or `sha256:<64 hex>` of local files.

    Raises:
        SourceError: it cannot be read. ResourceError: a file cannot be read.
    """
    if reference.path is not None:
        with readable(reference.path):
            return local_identity(reference.path)
    return client.resolve(reference.id, reference.revision, "dataset", tell)


def checkpoint_identity(folder: Path, chosen: ModelFiles) -> str:
    """`sha256:<64 hex>` of what decides the function that local weights compute: they, the config and the code."""
    names = [name for name in chosen.small if name in {"config.json", ADAPTER_CONFIG} or name.endswith(".py")]
    digest = hashlib.sha256()
    for name in sorted({*names, *chosen.weights}):
        digest.update(f"{name}\0{sha256_of(folder / name, client.home())}\n".encode())
    return f"sha256:{digest.hexdigest()}"


@contextmanager
def readable(path: Path) -> Iterator[None]:
    """Names the file that cannot be read inside the block.

    Raises:
        ResourceError: naming it.
    """
    try:
        yield
    except OSError as error:
        raise ResourceError(f"{error.filename or path} cannot be read ({error.strerror}).") from error
