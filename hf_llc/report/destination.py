"""Where results belong on the Hub: the model's own repository, or a dataset repository of the user's."""

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace

from hf_llc.errors import SettingsError, SourceError, UnusableError
from hf_llc.hub.account import Account, account, is_private, require_permission, written
from hf_llc.hub.errors import endpoint, page
from hf_llc.hub.listings import listing
from hf_llc.hub.publication import Kind, PublishSettings, Target
from hf_llc.hub.reference import is_foreign, is_id, is_remote, parse_dataset, parse_model
from hf_llc.hub.repository import Base, content_of, described
from hf_llc.report.card.merge import has_configs, results_path
from hf_llc.report.card.metadata import RESULTS
from hf_llc.results.jsonl import curve_from
from hf_llc.results.progress import Observer
from hf_llc.settings.bounds import shown

LONGEST_NAME = 96
DATA = (".parquet", ".arrow", ".csv", ".tsv", ".json", ".jsonl", ".txt", ".gz", ".zst", ".xz", ".bz2", ".zip", ".tar")
"""Names of files that `datasets` finds by itself."""


def require_writable(model: str, local: bool, settings: PublishSettings, observer: Observer) -> tuple[Account, Target]:
    """Whose token it is, and the repository that results of this model go to; asked before anything else is done.

    Args:
        local: the model is a folder or file on this disk.

    Raises:
        SettingsError: nobody said where a local model belongs. AccessError, NotFoundError: see `require_permission`.
    """
    owner = account(observer.tell)
    target = _target(model, local, settings, owner)
    target = replace(target, exists=require_permission(target, owner, observer.tell))
    # One that a call before this one has made, and could not fill, is what was asked for.
    if settings.private and target.exists and not is_private(target, observer.tell):
        raise SettingsError(f"{target.repo_id} is public; `private` is for a new repository: leave it out.")
    return owner, target


def refuse_to_hide(target: Target, base: Base, tell: Callable[[str], None]) -> None:
    """Raise UnusableError if a dataset has files that `datasets` finds by their names alone.

    It would not find them any more beside the configuration that a card of ours has, so nothing must be written there.
    The Hub lists files in two of its answers; what one of them has counts.
    """
    if target.kind != "dataset" or RESULTS in base.entries or (base.card is not None and has_configs(base.card)):
        return
    paths = {file.path for file in listing(target.repo_id, base.head, tell, "dataset").files}
    if data := sorted(path for path in paths | described(target, base.head, tell) if path.endswith(DATA)):
        raise UnusableError(
            f"{target.repo_id} has data of its own ({data[0]}), which load_dataset would no longer find "
            "beside the results. Name its files under configs: in its README.md, or give another "
            "`dataset_repo`."
        )


def refuse_to_replace(target: Target, base: Base, paths: Sequence[str], tell: Callable[[str], None]) -> None:
    """Raise UnusableError if there is a file at one of the paths that hf-llc did not write.

    It did if the card says so, or if the results can be read.
    """
    present = [path for path in paths if path in base.entries]
    if not present or (base.card is not None and results_path(base.card) is not None):
        return
    if RESULTS in present:
        with written(target):
            content = content_of(target, base.head, base.entries[RESULTS], tell)
        with suppress(SourceError):
            curve_from(content, RESULTS)
            return
    raise UnusableError(
        f"{page(target.repo_id, target.kind)} has a {present[0]} that hf-llc did not write; rename it, or give another "
        "repository."
    )


def model_place(model: str) -> tuple[str, bool]:
    """The Hub id or path that the user's spelling of a model means, and whether it is not on the Hub.

    Raises:
        NotFoundError, SettingsError: see `reference.parse_model`.
    """
    if is_foreign(model):
        return model, True
    reference = parse_model(model, None, endpoint())
    return reference.id, reference.kind == "local"


def _target(model: str, local: bool, settings: PublishSettings, owner: Account) -> Target:
    if settings.space is not None:
        repo_id = _space_id(settings.space, owner)
        return Target(repo_id=repo_id, kind="space", create_pr=settings.create_pr, private=settings.private)
    if settings.repo is not None:
        return Target(repo_id=_repo_id(settings.repo, "model", owner), kind="model", create_pr=settings.create_pr)
    if settings.dataset_repo is None and local:
        raise SettingsError(
            f"{model} is local; set where its results belong with `repo` (the model's repository) or `dataset_repo`."
        )
    if settings.dataset_repo is None and "/" in model and (settings.create_pr or owner.owns(model)):
        return Target(repo_id=model, kind="model", create_pr=settings.create_pr)
    default = f"llc-{model.replace('/', '__')}"[:LONGEST_NAME].rstrip("-.")
    repo_id = _repo_id(settings.dataset_repo or default, "dataset", owner)
    return Target(repo_id=repo_id, kind="dataset", create_pr=settings.create_pr, private=settings.private)


def _space_id(text: str, owner: Account) -> str:
    """`org/name` from that, or from the Space's address, in the user's own namespace if none is given.

    Raises:
        SettingsError: it names no Space.
    """
    name = text.removeprefix(f"{endpoint()}/").removeprefix("hf://").removeprefix("spaces/").rstrip("/")
    repo_id = name if "/" in name else f"{owner.name}/{name}"
    if not is_id(repo_id):
        raise SettingsError(f"{shown(text)} is no Space; give it as org/name.")
    return repo_id


def _repo_id(text: str, kind: Kind, owner: Account) -> str:
    """`org/name`, in the user's own namespace if none is given.

    Raises:
        SettingsError: it names no repository, or something in one.
    """
    if not is_remote(text) and text.count("/") > 1:
        raise SettingsError(f"{text} is not a repository; give it as org/name.")
    parse, prefix = (parse_model, "hf://") if kind == "model" else (parse_dataset, "hf://datasets/")
    reference = parse(text if is_remote(text) else prefix + text, None, endpoint())
    if reference.revision is not None or reference.file is not None:
        raise SettingsError(f"{text} names a part of {reference.id}; results are published on its main branch.")
    return reference.id if "/" in reference.id else f"{owner.name}/{reference.id}"
