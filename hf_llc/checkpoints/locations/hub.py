"""The Hub: branches and tags of a repository, commits of a branch, folders of a commit, whole repositories."""

from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase
from pathlib import PurePosixPath

from hf_llc.checkpoints.files import choose, inside, refuse_unusable
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
from hf_llc.checkpoints.remote_files import chosen_of, files_of
from hf_llc.checkpoints.selection import Selection
from hf_llc.checkpoints.source import ModelSource
from hf_llc.checkpoints.step_names import Place, place_of
from hf_llc.errors import AccessError, NotFoundError, OfflineError, did_you_mean
from hf_llc.hub import client
from hf_llc.hub import download as downloads
from hf_llc.hub.errors import endpoint
from hf_llc.hub.listings import commits, files_of_commit, listing, repositories
from hf_llc.hub.reference import Reference, gguf_file_of, parse_model, training_step
from hf_llc.settings.model import ModelSettings


class Hub:
    """Repositories on the Hub."""

    def site(self, address: str, selection: Selection, place: PlaceOf, trust: bool, tell: Tell) -> Site:
        """The branches and tags, or what the selection says."""
        reference = parse_model(address, None, endpoint())
        if reference.file is not None or (reference.revision is not None and selection.subfolder is None):
            raise refuse_one(address)
        if selection.repos:
            return _repositories(reference, selection.repos, place, trust, tell)
        if selection.subfolder is not None:
            return _subfolders(reference, selection.subfolder, place, trust, tell)
        return _commits(reference, selection.commits, place, trust, tell)

    def source(self, settings: ModelSettings, download: bool, tell: Tell) -> ModelSource:
        """The commit, in the Hub's cache."""
        reference = parse_model(settings.model, settings.revision, endpoint())
        return _model(reference, settings, gguf_file_of(reference, settings), download, tell)


def _commits(reference: Reference, branch: str | None, place: PlaceOf, trust: bool, tell: Tell) -> Site:
    """Branches and tags, or the commits of one branch."""
    if branch is None:
        shas = client.revisions(reference.id, "model", tell)
        places = {name: place(name) for name in shas}
    else:
        titles = commits(reference.id, branch, tell)
        shas = {sha[:12]: sha for sha in titles}
        # A Trainer writes "Training in progress, step 500".
        places = {sha[:12]: place_of(title.lower().replace("step ", "step")) for sha, title in titles.items()}
    # A commit asked for by its SHA stands where the name for it stands.
    by_commit = {sha: places[name] for name, sha in shas.items() if places[name].step is not None}

    def look(name: str) -> Found:
        sha = shas.get(name) or client.resolve(reference.id, name, "model", tell)
        return Found(
            model=ModelSettings(model=reference.id, revision=sha, trust_remote_code=trust),
            sha=sha,
            place=places.get(name) or by_commit.get(sha) or Place(),
            files=_remote_files(reference.id, sha, None, tell),
        )

    return Site(what=reference.id, places=places, look=look)


def _subfolders(reference: Reference, glob: str, place: PlaceOf, trust: bool, tell: Tell) -> Site:
    """Folders of one commit."""
    sha = client.resolve(reference.id, reference.revision, "model", tell)
    paths = [file.path for file in files_of_commit(reference.id, sha, tell)]
    folders = {str(parent) for path in paths for parent in PurePosixPath(path).parents if str(parent) != "."}
    matching = [folder for folder in sorted(folders) if _matches(folder, glob)]
    places = {folder: place(folder) for folder in matching if is_checkpoint(inside(paths, folder), place(folder))}
    if not places:
        raise NotFoundError(f"{reference.id} has no checkpoints in folders {glob}{did_you_mean(glob, sorted(folders))}")

    def look(name: str) -> Found:
        if name not in places:
            raise NotFoundError(f"{reference.id} has no folder {name}; with subfolder: name folders.")
        return Found(
            model=ModelSettings(model=reference.id, revision=sha, subfolder=name, trust_remote_code=trust),
            sha=sha,
            place=places[name],
            files=_remote_files(reference.id, sha, name, tell),
        )

    return Site(what=reference.id, places=places, look=look)


def _repositories(reference: Reference, globs: Sequence[str], place: PlaceOf, trust: bool, tell: Tell) -> Site:
    """Whole repositories, each of them one checkpoint at its default branch."""
    owner = reference.id.partition("/")[0]
    asked = [glob if "/" in glob else f"{owner}/{glob}" for glob in globs]
    shas: dict[str, str | None] = {}
    for glob in asked:
        if not any(c in glob for c in "*?["):
            shas.setdefault(glob, None)
            continue
        of_owner = repositories(glob.partition("/")[0], tell)
        matches = {name: sha for name, sha in of_owner.items() if fnmatchcase(name, glob)}
        if not matches:
            raise NotFoundError(f"No visible model matches {glob}{did_you_mean(glob, list(of_owner))}")
        shas |= matches
    places = {name: place(name.partition("/")[2]) for name in shas}

    def look(name: str) -> Found:
        sha = shas.get(name)
        try:
            sha = sha or client.resolve(name, None, "model", tell)
            files = _remote_files(name, sha, None, tell)
        except AccessError as error:
            files = Files(problem=str(error))  # it need not keep anybody from the others
        asked = ModelSettings(model=name, revision=sha, trust_remote_code=trust)
        return Found(model=asked, sha=sha, place=places[name], files=files)

    return Site(what=", ".join(asked), places=places, look=look)


def _matches(folder: str, glob: str) -> bool:
    """True if the folder matches name by name: a * does not reach over a slash, as with a path on disk."""
    if folder == glob:
        return True
    parts, patterns = folder.split("/"), glob.split("/")
    return len(parts) == len(patterns) and all(map(fnmatchcase, parts, patterns))


def _remote_files(repo_id: str, sha: str, subfolder: str | None, tell: Tell) -> Files:
    files = files_of_commit(repo_id, sha, tell)
    known = dict(zip(inside((file.path for file in files), subfolder), _below(files, subfolder), strict=True))
    chosen = choose(known)
    weights = [known[name] for name in chosen.weights]
    return Files(
        format=format_of(chosen),
        size=sum(file.size for file in weights) or None,
        cached=bool(weights) and client.bytes_to_download(repo_id, sha, weights) == 0,
        content=tuple(sorted(known[name].oid for name in chosen.deciding)),
        problem=problem_of(known),
    )


def _below(files: Iterable[client.RemoteFile], subfolder: str | None) -> list[client.RemoteFile]:
    return [file for file in files if subfolder is None or file.path.startswith(f"{subfolder}/")]


def _model(
    reference: Reference, settings: ModelSettings, gguf_file: str | None, download: bool, tell: Tell
) -> ModelSource:
    revision = reference.revision or "main"
    sha = client.resolve(reference.id, reference.revision, "model", tell)
    files = listing(reference.id, sha, tell)
    known = {file.path: file for file in files.files}
    names = inside(known, settings.subfolder)
    if not files.whole and gguf_file is not None and gguf_file not in names:
        raise OfflineError(f"{gguf_file} of {reference.id} is not on this machine; try again with a network.")
    chosen = chosen_of(
        reference.id,
        sha,
        known,
        tell,
        subfolder=settings.subfolder,
        gguf_file=gguf_file,
        trust_remote_code=settings.trust_remote_code,
    )
    if not chosen.weights and not files.whole:
        raise OfflineError(f"The weights of {reference.id} are not on this machine; try again with a network.")
    others = (
        [] if chosen.weights else [name for name in client.revisions(reference.id, "model", tell) if name != revision]
    )
    what = f"{settings.subfolder} of {reference.id}" if settings.subfolder else reference.id
    refuse_unusable(f"{what} at {revision}", names, chosen, others)
    small, weights = files_of(known, settings.subfolder, chosen)
    wanted = small + (weights if download else [])
    return ModelSource(
        id=reference.id,
        revision=revision,
        sha=sha,
        step=training_step(settings.subfolder or revision),
        path=downloads.download(reference.id, sha, wanted, tell) if wanted else None,
        subfolder=settings.subfolder,
        gguf_file=gguf_file,
        trust_remote_code=settings.trust_remote_code,
        weight_bytes=sum(file.size for file in weights),
        download_bytes=0 if download else client.bytes_to_download(reference.id, sha, weights),
        adapter=chosen.is_adapter,
    )


LOCATION = Hub()
