"""Publishing in nouns: what is asked for, where it goes, and what came of it."""

import difflib
from dataclasses import asdict, dataclass
from typing import Any, Literal, Self

from hf_llc.errors import SettingsError
from hf_llc.results.estimate import SCHEMA
from hf_llc.settings.bounds import check_fields

Kind = Literal["model", "dataset", "space"]
State = Literal["new", "changed", "same"]


@dataclass(frozen=True, kw_only=True)
class PublishSettings:
    """Where a run is to be published, and how.

    Attributes:
        repo: the repository of the model. dataset_repo: a dataset repository, made if it is not there. With neither,
            the model's own repository where that may be written to, else `<user>/llc-<org>__<model>`.
        space: a static Space for the page of `hf-llc report`, made if it is not there; nothing goes to a card then.
        create_pr: propose it in a pull request.
        headline: revisions whose numbers become metadata of the card besides the last one.
        private: a dataset repository or Space that is made is private.
        message: the title of the commit; None says what is in it.
        components: folder of an estimate or scan of several components, which go to the card or page beside the run.
    """

    repo: str | None = None
    dataset_repo: str | None = None
    create_pr: bool = False
    headline: tuple[str, ...] = ()
    private: bool = False
    message: str | None = None
    components: str | None = None
    space: str | None = None

    def __post_init__(self) -> None:
        check_fields(self)
        if self.space is not None and (self.repo is not None or self.dataset_repo is not None):
            raise SettingsError("Set `space`, or `repo` or `dataset_repo`, not both; publish twice for both.")
        if self.space is not None and self.headline:
            raise SettingsError("`headline` is for metadata of a card, which a Space has none of; leave it out.")
        if self.repo is not None and self.dataset_repo is not None:
            raise SettingsError("Set `repo` or `dataset_repo`, not both; publish twice for both.")
        if self.repo is not None and self.private:
            raise SettingsError(
                "`private` is for a new dataset repository, and `repo` already exists; leave out `private`."
            )


@dataclass(frozen=True, kw_only=True)
class Target:
    """A repository to write to. `exists` is False where it is to be made."""

    repo_id: str
    kind: Kind
    create_pr: bool = False
    private: bool = False
    exists: bool = True


@dataclass(frozen=True, kw_only=True)
class Change:
    """What becomes of one file.

    Attributes:
        state: `new`, `changed` or `same`. size: of the new content, in bytes.
        diff: the lines that differ, as a unified diff; "" for pictures and for what stays the same.
    """

    path: str
    state: State
    size: int
    diff: str = ""

    @classmethod
    def between(cls, path: str, old: bytes | None, new: bytes) -> Self:
        """The change from the old content, None if there was none, of a text."""
        before = "/dev/null" if old is None else f"a/{path}"
        diff = difflib.unified_diff(_lines(old or b""), _lines(new), before, f"b/{path}", lineterm="")
        state: State = "new" if old is None else "same" if old == new else "changed"
        return cls(path=path, state=state, size=len(new), diff="".join(f"{line}\n" for line in diff))


def _lines(content: bytes) -> list[str]:
    """Lines for people: nothing in them that a terminal would obey."""
    text = content.decode(errors="replace").replace("\r\n", "\n")
    return ["".join(c if c.isprintable() or c == "\t" else "�" for c in line) for line in text.split("\n")]


@dataclass(frozen=True, kw_only=True)
class Publication:
    """What was published.

    Attributes:
        repo, repo_type: where. commit: the commit that has it. pull_request: its number, None if there is none.
        url: the page to look at. files: all that hf-llc keeps there. changed: those of them that were not so before.
    """

    schema: int = SCHEMA
    repo: str
    repo_type: Kind
    commit: str | None
    pull_request: int | None
    url: str
    files: tuple[str, ...]
    changed: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """The documented JSON object."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}
