"""A static Space on the Hub that shows the page of a run."""

from pathlib import Path

from hf_llc.errors import UnusableError
from hf_llc.hub import repository
from hf_llc.hub.account import written
from hf_llc.hub.errors import page
from hf_llc.hub.publication import PublishSettings, Target
from hf_llc.hub.repository import CARD, Base, content_of
from hf_llc.report.card.files import portable
from hf_llc.report.card.merge import body_of, page_path
from hf_llc.report.card.render import render_space_card
from hf_llc.report.component_files import load_components
from hf_llc.report.destination import require_writable
from hf_llc.report.draft import INDEX, RENDERED, Draft, KeptCard, changes_of, retry_command
from hf_llc.report.load import folder_of, load
from hf_llc.report.page.render import page_of
from hf_llc.results.curve import Curve
from hf_llc.results.estimate import Estimate
from hf_llc.results.progress import Observer
from hf_llc.settings.files import write_atomically

HUB_README = "Check out the configuration reference at https://huggingface.co/docs/hub/spaces-config-reference"
"""All that the README.md of a new Space says below its front matter."""
HUB_INDEX = b"Welcome to your static Space!"
"""In the page that a new static Space shows."""


def prepare_space(run: str | Path | Curve | Estimate, settings: PublishSettings, observer: Observer) -> Draft:
    """The page of a run as a Space; nothing is written to the Hub.

    Raises:
        UnusableError: the run has no number, or there is a Space that hf-llc did not make.
        HfLlcError: see `hf_llc.publish`.
    """
    if isinstance(run, str | Path):
        curve, where = load(run, observer.tell), str(run)
    else:
        curve = run if isinstance(run, Curve) else Curve.of_estimate(run)
        where = curve.run_dir
    owner, target = require_writable(curve.model, False, settings, observer)
    folder = folder_of(where) / RENDERED / f"space__{target.repo_id.replace('/', '__')}"
    parts = [] if settings.components is None else [load_components(Path(settings.components))]
    content = page_of([run, *parts], observer)
    write_atomically(folder / INDEX, content)
    name = Path(portable(curve, folder_of(where)).model).name
    make_card = KeptCard(_Card(name, target), target, folder)
    base = repository.read(target, owner.name, (INDEX,), observer.tell) if target.exists else None
    files_of_card = {CARD: make_card(base.card if base else None), INDEX: content}
    if base is not None:
        _refuse_foreign(target, base, observer)
    return Draft(
        target=target,
        owner=owner,
        title=settings.message or f"Local learning coefficient of {name}",
        changes=tuple(changes_of(target, base, files_of_card, observer)),
        folder=folder,
        files={INDEX: content},
        make_card=make_card,
        retry=retry_command(where, settings),
        base=base,
    )


class _Card:
    """Gives the README.md of a Space: one of ours as it is, and one that only the Hub wrote is replaced."""

    def __init__(self, name: str, target: Target) -> None:
        self._name, self._target = name, target

    def __call__(self, card: bytes | None) -> bytes:
        if card is not None and page_path(card) is not None:
            return card
        if card is not None and not _is_untouched(card):
            raise _foreign(self._target)
        return render_space_card(self._name, INDEX)


def _refuse_foreign(target: Target, base: Base, observer: Observer) -> None:
    """Raise UnusableError if the Space shows a page that is neither ours nor that of every new Space."""
    if INDEX not in base.entries or (base.card is not None and page_path(base.card) is not None):
        return
    with written(target):
        content = content_of(target, base.head, base.entries[INDEX], observer.tell)
    if HUB_INDEX not in content:
        raise _foreign(target)


def _is_untouched(card: bytes) -> bool:
    return body_of(card).strip() in {"", HUB_README}


def _foreign(target: Target) -> UnusableError:
    return UnusableError(
        f"{page(target.repo_id, target.kind)} is a Space that hf-llc did not make, and stays as it is; give another "
        "`space`."
    )
