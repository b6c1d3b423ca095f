"""What is about to be published: files, the card, what becomes of what is there, and the command to try again."""

import shlex
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from hf_llc.errors import UnusableError
from hf_llc.hub.account import Account, written
from hf_llc.hub.errors import page
from hf_llc.hub.publication import Change, Publication, PublishSettings, State, Target
from hf_llc.hub.repository import CARD, Base, content_of
from hf_llc.report.card.metadata import COMPONENT_PICTURE, PICTURE, VECTORS
from hf_llc.report.card.yaml_tree import CardError
from hf_llc.results.progress import Observer
from hf_llc.settings.files import write_atomically

RENDERED = "publish"
"""The folder, inside that of the run, in which all of it is kept."""
INDEX = "index.html"
"""The page of a Space."""
WITHOUT_DIFFERENCE = {PICTURE, VECTORS, COMPONENT_PICTURE, INDEX}
"""Files whose lines tell nobody what has changed in them."""


@dataclass(frozen=True, kw_only=True)
class Draft:
    """What is about to be published.

    Attributes:
        target: where. changes: what becomes of each file there. folder: holds the files.
        files: all but the card, by path. make_card: the card that is there, or None, to the one that shall be there.
        retry: the command that publishes the same.
    """

    target: Target
    owner: Account
    title: str
    changes: tuple[Change, ...]
    folder: Path
    files: dict[str, bytes]
    make_card: Callable[[bytes | None], bytes]
    retry: str
    base: Base | None

    @property
    def url(self) -> str:
        """The page of the repository."""
        return page(self.target.repo_id, self.target.kind)

    def to_publication(self, commit: str | None, pull_request: int | None, changed: tuple[str, ...]) -> Publication:
        """What is, or would be, published."""
        return Publication(
            repo=self.target.repo_id,
            repo_type=self.target.kind,
            commit=commit,
            pull_request=pull_request,
            url=self.url if pull_request is None else f"{self.url}/discussions/{pull_request}",
            files=(CARD, *self.files),
            changed=changed,
        )


class KeptCard:
    """Makes the card, keeps it in the folder, and says whose it is where it cannot be changed."""

    def __init__(self, make: Callable[[bytes | None], bytes], target: Target, folder: Path) -> None:
        self._make, self._target, self._folder = make, target, folder

    def __call__(self, card: bytes | None) -> bytes:
        try:
            content = self._make(card)
        except CardError as error:
            raise UnusableError(
                f"{CARD} of {page(self._target.repo_id, self._target.kind)}, line {error.line}: {error.problem}. The "
                "card is left as it is; correct that line and publish again."
            ) from error
        write_atomically(self._folder / CARD, content)
        return content


def changes_of(target: Target, base: Base | None, files: dict[str, bytes], observer: Observer) -> list[Change]:
    """What becomes of each file, in the order of `files`; a text that differs with its difference."""
    changes = []
    for path, content in files.items():
        entry = base.entries.get(path) if base is not None else None
        state: State = "new" if entry is None or base is None else "same" if base.has(path, content) else "changed"
        if state == "same" or path in WITHOUT_DIFFERENCE:
            changes.append(Change(path=path, state=state, size=len(content)))
            continue
        old = None
        if base is not None and entry is not None:
            with written(target):
                old = content_of(target, base.head, entry, observer.tell)
        changes.append(Change.between(path, old, content))
    return changes


def retry_command(where: str | Path, settings: PublishSettings) -> str:
    """The command that publishes the same."""
    arguments = ["hf-llc", "publish", str(where)]
    arguments += ["--repo", settings.repo] if settings.repo is not None else []
    arguments += ["--dataset-repo", settings.dataset_repo] if settings.dataset_repo is not None else []
    arguments += ["--space", settings.space] if settings.space is not None else []
    arguments += ["--create-pr"] if settings.create_pr else []
    arguments += [word for name in settings.headline for word in ("--headline", name)]
    arguments += ["--private"] if settings.private else []
    arguments += ["--message", settings.message] if settings.message is not None else []
    arguments += ["--components", settings.components] if settings.components is not None else []
    return shlex.join([*arguments, "--yes"])
