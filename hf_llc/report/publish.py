"""A run to the Hub: as metadata and a section of a model's card, or as a results repository of one's own.

prepare   who may write where; the files, merged with what is there; the difference     (nothing is written there)
push      one commit, or a pull request
"""

import shlex
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from hf_llc.errors import HfLlcError, PublishError, SettingsError, UnusableError
from hf_llc.hub import commit as hub_writing
from hf_llc.hub import repository
from hf_llc.hub.account import Account, create, written
from hf_llc.hub.errors import page
from hf_llc.hub.publication import Change, Publication, PublishSettings, State, Target
from hf_llc.hub.reference import is_remote
from hf_llc.hub.repository import CARD, Base, content_of
from hf_llc.report.card.escaping import is_local, last_estimate
from hf_llc.report.card.files import card_maker, headline_of, portable, portable_components, write_files
from hf_llc.report.card.metadata import (
    COMPONENT_PICTURE,
    COMPONENT_ROWS,
    PICTURE,
    RESULTS,
    SETTINGS,
    VECTORS,
)
from hf_llc.report.card.render import Content
from hf_llc.report.card.yaml_tree import CardError
from hf_llc.report.component_files import load_components
from hf_llc.report.destination import refuse_to_hide, refuse_to_replace, require_writable
from hf_llc.report.load import folder_of, load, own_command
from hf_llc.results.component_curves import ComponentCurves
from hf_llc.results.curve import Curve
from hf_llc.results.estimate import Estimate
from hf_llc.results.progress import Observer
from hf_llc.settings.bounds import checked_arguments
from hf_llc.settings.files import write_atomically

FILES = (RESULTS, SETTINGS, PICTURE, VECTORS, COMPONENT_ROWS, COMPONENT_PICTURE)
"""Everything that is published but the card itself."""
RENDERED = "publish"
"""The folder, inside that of the run, in which all of it is kept."""
DESCRIPTION = (
    "Of the card, only the entries and the section of hf-llc are added or replaced; all else is as it was. What the "
    "numbers mean, and how to make them again, is in the section."
)

Run = str | Path | Curve | Estimate


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


@checked_arguments
def publish(run: Run, settings: PublishSettings | None = None, *, observer: Observer | None = None) -> Publication:
    """Publish a run to the Hub, without asking: one commit, or none if nothing has changed.

    Args:
        run: its folder, `hf://…` of a published run, or the result itself.
        settings: where to; None means the model's own repository if it may be written to, else a dataset repository.
        observer: receives progress and messages; None is silent.

    Raises:
        SettingsError: the settings do not fit the run. AccessError: no token, or no permission.
        NotFoundError: no run, or no such repository. UnusableError: no number, or a card that cannot be changed safely.
        PublishError: the Hub did not take it; the message has the command to try again.
    """
    return push(prepare(run, settings, observer=observer), observer=observer)


def publish_finished(run: Path, settings: PublishSettings, *, observer: Observer) -> Publication:
    """Publishes a run that has just been finished, whose folder keeps it whatever comes of this.

    Raises:
        PublishError: whatever went wrong; the message has the command to try again.
    """
    try:
        return publish(run, settings, observer=observer)
    except PublishError:
        raise
    except HfLlcError as error:
        raise PublishError(f"{error} The run is kept in {run}. To publish it: {_retry(run, settings)}") from error


def prepare(run: Run, settings: PublishSettings | None = None, *, observer: Observer | None = None) -> Draft:
    """What would be published, and where; rendered into the run's folder, and nothing written to the Hub.

    Raises:
        SettingsError: the settings do not fit the run. AccessError: no token, or no permission. NotFoundError: no run,
        or no such repository. UnusableError: there is no number, or the card that is there cannot be changed safely.
        HfLlcError: the Hub cannot be reached.
    """
    observer, settings = observer or Observer(), settings or PublishSettings()
    curve, where = _curve_of(run, observer)
    local = not is_remote(curve.run_dir) and _is_local(curve)
    owner, target = require_writable(curve.model, local, settings, observer)
    folder = folder_of(where)
    public = portable(curve, folder)
    content = Content(
        curve=public,
        name=target.repo_id.rpartition("/")[2] if target.kind == "model" else Path(public.model).name,
        headline=headline_of(public, settings.headline),
        command=own_command(where, observer.tell),
        home=f"hf://{'datasets/' if target.kind == 'dataset' else ''}{target.repo_id}",
        url=f"{page(target.repo_id, target.kind)}/blob/main/{RESULTS}",
        components=_components(settings.components, public),
    )
    rendered = folder / RENDERED / target.repo_id.replace("/", "__")
    files = write_files(rendered, content, observer.tell)
    content = replace(content, picture=PICTURE in files, component_picture=COMPONENT_PICTURE in files)
    maker = card_maker(content, target.kind, folder, Path(curve.model) if local else None)
    base = repository.read(target, owner.name, FILES, observer.tell) if target.exists else None
    make_card = _Card(maker, target, rendered)
    files_of_card = {CARD: make_card(base.card if base else None), **files}
    if base is not None:
        refuse_to_hide(target, base, observer.tell)
        refuse_to_replace(target, base, FILES, observer.tell)
    return Draft(
        target=target,
        owner=owner,
        title=settings.message or _title(public),
        changes=tuple(_changes(target, base, files_of_card, observer)),
        folder=rendered,
        files=files,
        make_card=make_card,
        retry=_retry(where, settings),
        base=base,
    )


def push(draft: Draft, *, observer: Observer | None = None) -> Publication:
    """Commit the draft, merged with the repository's state at that time.

    Raises:
        PublishError: it was not taken; everything is kept, and the message has the command to try again.
    """
    observer = observer or Observer()
    try:
        if not draft.target.exists:
            create(draft.target, observer.tell)
        landed = hub_writing.push(
            replace(draft.target, exists=True),
            FILES,
            lambda card: {CARD: draft.make_card(card), **draft.files},
            author=draft.owner.name,
            title=draft.title,
            description=DESCRIPTION,
            tell=observer.tell,
        )
    except HfLlcError as error:
        raise PublishError(f"{error} The files are kept in {draft.folder}. To try again: {draft.retry}") from error
    return draft.to_publication(landed.commit, landed.pull_request, landed.changed)


def _curve_of(run: Run, observer: Observer) -> tuple[Curve, str]:
    """The curve, and the folder or URI that it is of."""
    if isinstance(run, str | Path):
        return load(run, observer.tell), str(run)
    curve = run if isinstance(run, Curve) else Curve.of_estimate(run)
    return curve, curve.run_dir


def _components(folder: str | None, curve: Curve) -> ComponentCurves | None:
    """The components in a folder, as they are published; None without a folder.

    Raises:
        NotFoundError, SourceError, UnusableError: they cannot be read, or one has no number. SettingsError: they are of
        another model than the curve.
    """
    if folder is None:
        return None
    components = portable_components(load_components(Path(folder)))
    if components.model != curve.model:
        raise SettingsError(f"`components` are of {components.model}, and the run is of {curve.model}.")
    return components


def _is_local(curve: Curve) -> bool:
    return any(point.estimate for point in curve.points) and is_local(last_estimate(curve.points))


def _title(curve: Curve) -> str:
    count = len(curve.points)
    return (
        f"Local learning coefficient over training: {count} checkpoints" if count > 1 else "Local learning coefficient"
    )


class _Card:
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


def _changes(target: Target, base: Base | None, files: dict[str, bytes], observer: Observer) -> list[Change]:
    changes = []
    for path, content in files.items():
        entry = base.entries.get(path) if base is not None else None
        state: State = "new" if entry is None or base is None else "same" if base.has(path, content) else "changed"
        if state == "same" or path in {PICTURE, VECTORS, COMPONENT_PICTURE}:
            changes.append(Change(path=path, state=state, size=len(content)))
            continue
        old = None
        if base is not None and entry is not None:
            with written(target):
                old = content_of(target, base.head, entry, observer.tell)
        changes.append(Change.between(path, old, content))
    return changes


def _retry(where: str | Path, settings: PublishSettings) -> str:
    arguments = ["hf-llc", "publish", str(where)]
    arguments += ["--repo", settings.repo] if settings.repo is not None else []
    arguments += ["--dataset-repo", settings.dataset_repo] if settings.dataset_repo is not None else []
    arguments += ["--create-pr"] if settings.create_pr else []
    arguments += [word for name in settings.headline for word in ("--headline", name)]
    arguments += ["--private"] if settings.private else []
    arguments += ["--message", settings.message] if settings.message is not None else []
    arguments += ["--components", settings.components] if settings.components is not None else []
    return shlex.join([*arguments, "--yes"])
