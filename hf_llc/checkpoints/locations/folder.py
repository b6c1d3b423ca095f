"""Folders on this disk: checkpoints inside a folder, such as a Trainer leaves, and a model in one."""

from pathlib import Path

from hf_llc.checkpoints.files import CONFIGS, refuse_unusable
from hf_llc.checkpoints.folder import chosen_in, names_in
from hf_llc.checkpoints.identity import checkpoint_identity, readable
from hf_llc.checkpoints.locations.base import (
    Files,
    Found,
    PlaceOf,
    Site,
    Tell,
    format_of,
    is_checkpoint,
    problem_of,
    refuse_one,
)
from hf_llc.checkpoints.selection import Selection
from hf_llc.checkpoints.source import ModelSource
from hf_llc.errors import NotFoundError, SettingsError, UnusableError
from hf_llc.hub import client
from hf_llc.hub.digests import sha256_of
from hf_llc.hub.errors import endpoint
from hf_llc.hub.reference import Reference, gguf_file_of, is_foreign, parse_model, training_step
from hf_llc.settings.model import ModelSettings

DEPTH = 3
"""Levels of folders below a local checkpoint that are looked into, for what kind of files it holds."""


class Folder:
    """A folder, or a .gguf file in one."""

    def site(self, address: str, selection: Selection, place: PlaceOf, trust: bool, tell: Tell) -> Site:
        """The folders inside."""
        reference = parse_model(address, None, endpoint())
        if reference.file is not None:
            raise refuse_one(address)
        if selection.commits is not None or selection.repos:
            raise SettingsError(
                f"{reference.id} is a local folder, without commits or repositories; leave out commits: and repos:."
            )
        assert reference.path is not None
        return _folders(reference, reference.path, selection.subfolder, place, trust)

    def source(self, settings: ModelSettings, download: bool, tell: Tell) -> ModelSource:
        """The model in the folder, by the hash of its content."""
        reference = parse_model(settings.model, settings.revision, endpoint())
        assert reference.path is not None
        with readable(reference.path):
            return source_in(reference.path, settings, name=reference.id, gguf_file=gguf_file_of(reference, settings))


def _folders(reference: Reference, top: Path, glob: str | None, place: PlaceOf, trust: bool) -> Site:
    """Folders on this disk: those directly inside, such as a Trainer leaves, or those that the glob names."""
    # A name that is there as it stands is no pattern.
    literal = glob is not None and (top / glob).is_dir()
    entries = [top / str(glob)] if literal else sorted(top.glob(glob or "*"))
    inner = {folder.relative_to(top).as_posix(): folder for folder in entries if folder.is_dir()}
    places = {
        name: place(name)
        for name, folder in inner.items()
        if is_checkpoint(names_in(folder, DEPTH), place(name), glob is None)
    }
    if not places:
        raise NotFoundError(
            f"{reference.id} holds no checkpoints: no folder {glob or 'inside it'} has a config.json. Name the folder "
            "above checkpoint-500, checkpoint-1000, …; for a single model use `hf-llc estimate`."
        )

    def look(name: str) -> Found:
        if name not in places:
            raise NotFoundError(f"{reference.id} has no checkpoint {name}; name one of its folders.")
        return Found(
            model=ModelSettings(model=reference.id, subfolder=name, trust_remote_code=trust),
            sha=None,
            place=places[name],
            files=_local_files(inner[name]),
        )

    return Site(what=reference.id, places=places, look=look)


def source_in(path: Path, settings: ModelSettings, *, name: str, gguf_file: str | None = None) -> ModelSource:
    """The model in a folder on this disk, or in the folder inside it that the settings name.

    Args:
        name: what the folder is called in results.

    Raises:
        NotFoundError: there is no model. UnusableError: it cannot be read.
    """
    path = path.resolve()
    inner = settings.subfolder or ""
    folder = path / inner
    what = f"{name}/{inner}".rstrip("/") if is_foreign(name) else str(Path(name) / inner)
    if not folder.is_dir():
        raise NotFoundError(f"There is no folder {what}.")
    chosen = chosen_in(folder, gguf_file=gguf_file, trust_remote_code=settings.trust_remote_code)
    if not chosen.weights and (checkpoints := _inner_checkpoints(folder)):
        raise NotFoundError(f"{what} holds no model itself, but {', '.join(checkpoints[:6])}; name one of them.")
    refuse_unusable(what, names_in(folder), chosen)
    return ModelSource(
        id=what if inner else name,
        revision=None,
        sha=checkpoint_identity(folder, chosen),
        step=training_step(Path(gguf_file).stem if gguf_file else folder.name),
        path=path,
        subfolder=settings.subfolder,
        gguf_file=gguf_file,
        trust_remote_code=settings.trust_remote_code,
        weight_bytes=sum((folder / name).stat().st_size for name in chosen.weights),
        adapter=chosen.is_adapter,
    )


def _inner_checkpoints(folder: Path) -> list[str]:
    """The `checkpoint-N` folders that a Trainer leaves, in order of N."""
    inner = [entry for entry in folder.iterdir() if any((entry / name).is_file() for name in CONFIGS)]
    steps = [(training_step(entry.name), entry.name) for entry in inner]
    return [name for _, name in sorted((step, name) for step, name in steps if step is not None)]


def _local_files(folder: Path) -> Files:
    try:
        chosen = chosen_in(folder)
    except UnusableError as error:
        return Files(problem=str(error))
    weights = [folder / name for name in chosen.weights]
    return Files(
        format=format_of(chosen),
        size=sum(path.stat().st_size for path in weights) or None,
        cached=bool(weights),
        content=tuple(sha256_of(folder / name, client.home()) for name in chosen.deciding),
        problem=problem_of(names_in(folder, DEPTH)),
    )


LOCATION = Folder()
