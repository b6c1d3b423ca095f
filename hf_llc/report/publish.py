"""A run to the Hub: as metadata and a section of a model's card, or as a results repository of one's own.

prepare   who may write where; the files, merged with what is there; the difference     (nothing is written there)
push      one commit, or a pull request
"""

from dataclasses import replace
from pathlib import Path

from hf_llc.errors import HfLlcError, PublishError, SettingsError
from hf_llc.hub import commit as hub_writing
from hf_llc.hub import repository
from hf_llc.hub.account import create
from hf_llc.hub.errors import page
from hf_llc.hub.publication import Publication, PublishSettings
from hf_llc.hub.reference import is_remote
from hf_llc.hub.repository import CARD
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
from hf_llc.report.component_files import load_components
from hf_llc.report.destination import refuse_to_hide, refuse_to_replace, require_writable
from hf_llc.report.draft import INDEX, RENDERED, Draft, KeptCard, changes_of, retry_command
from hf_llc.report.load import folder_of, load, own_command
from hf_llc.report.space import prepare_space
from hf_llc.results.component_curves import ComponentCurves
from hf_llc.results.curve import Curve
from hf_llc.results.estimate import Estimate
from hf_llc.results.progress import Observer
from hf_llc.settings.bounds import checked_arguments

FILES = (RESULTS, SETTINGS, PICTURE, VECTORS, COMPONENT_ROWS, COMPONENT_PICTURE)
"""Everything that is published but the card itself."""
DESCRIPTION = (
    "Of the card, only the entries and the section of hf-llc are added or replaced; all else is as it was. What the "
    "numbers mean, and how to make them again, is in the section."
)

Run = str | Path | Curve | Estimate


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
        raise PublishError(
            f"{error} The run is kept in {run}. To publish it: {retry_command(run, settings)}"
        ) from error


def prepare(run: Run, settings: PublishSettings | None = None, *, observer: Observer | None = None) -> Draft:
    """What would be published, and where; rendered into the run's folder, and nothing written to the Hub.

    Raises:
        SettingsError: the settings do not fit the run. AccessError: no token, or no permission. NotFoundError: no run,
        or no such repository. UnusableError: there is no number, or the card that is there cannot be changed safely.
        HfLlcError: the Hub cannot be reached.
    """
    observer, settings = observer or Observer(), settings or PublishSettings()
    if settings.space is not None:
        return prepare_space(run, settings, observer)
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
    make_card = KeptCard(maker, target, rendered)
    files_of_card = {CARD: make_card(base.card if base else None), **files}
    if base is not None:
        refuse_to_hide(target, base, observer.tell)
        refuse_to_replace(target, base, FILES, observer.tell)
    return Draft(
        target=target,
        owner=owner,
        title=settings.message or _title(public),
        changes=tuple(changes_of(target, base, files_of_card, observer)),
        folder=rendered,
        files=files,
        make_card=make_card,
        retry=retry_command(where, settings),
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
            FILES if draft.target.kind != "space" else (INDEX,),
            lambda card: {CARD: draft.make_card(card), **draft.files},
            author=draft.owner.name,
            title=draft.title,
            description=DESCRIPTION if draft.target.kind != "space" else "",
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
