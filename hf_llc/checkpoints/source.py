"""What an estimate is made from, once found: a checkpoint pinned to a commit or a content hash, and packed tokens."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self


def label_of(id_: str) -> str:
    """A folder name for the model: `org__name`, or the last two parts of a local path."""
    parts = [part for part in Path(id_).parts if part not in {"/", ".", ".."}]
    return "__".join(parts[-2:]) or "model"


@dataclass(frozen=True, kw_only=True)
class ModelSource:
    """A checkpoint on this disk, or one that `path=None` says is still to be downloaded.

    Attributes:
        id: `org/name` on the Hub, or the local folder or file as the user named it.
        revision: what the user asked for (`step512`, `main`, …); None for a local model.
        sha: the commit (40 hex digits), or `sha256:<64 hex>` of a local model's config and weights.
        step: the training step parsed from the revision or folder name, if it has one.
        path: the snapshot folder; `subfolder` the folder inside it that transformers loads from, None for itself.
        gguf_file: file name inside `path` when the weights are GGUF.
        weight_bytes: size of the weight files.
        code: `org/name@commit` of the repository that its Python code is from, where that is another one.
        download_bytes: what is not on this disk yet.
        adapter: True if the files are those of an adapter, which says itself what it is put on: `base`.
    """

    id: str
    revision: str | None
    sha: str
    step: int | None
    path: Path | None
    subfolder: str | None = None
    gguf_file: str | None = None
    trust_remote_code: bool = False
    weight_bytes: int = 0
    download_bytes: int = 0
    code: str | None = None
    adapter: bool = False
    base: "ModelSource | None" = None

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> Self:
        """The source that `dataclasses.asdict` made a mapping of."""
        path, base = stored["path"], stored.get("base")
        read = {"path": Path(path) if path else None, "base": cls.from_dict(base) if base else None}
        return cls(**{**stored, **read})

    @property
    def whole(self) -> "ModelSource":
        """The checkpoint that has a config.json and all weights of a model: of an adapter its base, else this one."""
        return self.base or self

    @property
    def all_weight_bytes(self) -> int:
        """Size of the weight files, with those of the base of an adapter."""
        return self.weight_bytes + (self.base.weight_bytes if self.base else 0)

    @property
    def all_download_bytes(self) -> int:
        """What is not on this disk yet, with what is missing of the base of an adapter."""
        return self.download_bytes + (self.base.download_bytes if self.base else 0)

    @property
    def is_local(self) -> bool:
        """True if the weights are the user's own files rather than a Hub commit."""
        return self.sha.startswith("sha256:")

    @property
    def label(self) -> str:
        """A folder name for the model: `org__name`, or the last two parts of a local path."""
        return label_of(self.id)

    @property
    def short_sha(self) -> str:
        """The first twelve digits of the identity."""
        return self.sha.removeprefix("sha256:")[:12]


@dataclass(frozen=True, kw_only=True)
class Corpus:
    """The items of the loss on this disk, such as packed token sequences.

    Attributes:
        id, revision, config, split, text_column: where the text is from; `revision` is a commit SHA on the Hub,
            `sha256:<64 hex>` of a local file.
            Of several datasets these are joined by ` + `.
        fingerprint: `sha256:<64 hex>` of the packed int32 array and its shape, or of the tensors of other items.
        n: items; context_length: tokens in each, or in the longest, 1 where an item is no text.
        path: the file of items.
        remarks: sentences that a reader of the numbers must know about how the items were made.
        task: what they are items of, by its name.
        label_column: that of classes or targets, where there is one.
        loss_of_guessing: the loss of a uniform guess where classes were matched by number, which may be wrong ones.
        loss_on: which tokens count where a row is a sequence by itself, `all`, `assistant` or `completion`; None of
            text, which is packed and counts whole. bos: as it was asked for.
    """

    id: str
    revision: str
    config: str | None
    split: str
    text_column: str
    fingerprint: str
    n: int
    context_length: int
    path: Path
    remarks: tuple[str, ...] = ()
    task: str = "text-generation"
    label_column: str | None = None
    loss_of_guessing: float | None = None
    loss_on: str | None = None
    bos: str = "auto"

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> Self:
        """The items that `dataclasses.asdict` made a mapping of."""
        return cls(**{**stored, "path": Path(stored["path"]), "remarks": tuple(stored.get("remarks", ()))})
