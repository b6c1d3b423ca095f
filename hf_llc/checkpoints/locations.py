"""Where the checkpoints of a series live: branches and tags, commits of a branch, folders, whole repositories."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath

from hf_llc.checkpoints.files import choose, inside, is_partial, raw_format, refuse_unusable
from hf_llc.checkpoints.folder import chosen_in, names_in
from hf_llc.checkpoints.selection import Selection
from hf_llc.checkpoints.step_names import Place, place_of
from hf_llc.errors import AccessError, NotFoundError, SettingsError, UnusableError, did_you_mean
from hf_llc.hub import client
from hf_llc.hub.digests import sha256_of
from hf_llc.hub.listings import commits, files_of_commit, repositories
from hf_llc.hub.parallel import at_once
from hf_llc.hub.reference import Reference
from hf_llc.settings.model import ModelSettings

Tell = Callable[[str], None]
PlaceOf = Callable[[str], Place]
REQUESTS_AT_ONCE = 8
DEPTH = 3
"""Levels of folders below a local checkpoint that are looked into, for what kind of files it holds."""


@dataclass(frozen=True, kw_only=True)
class Files:
    """What is known of a checkpoint without downloading it.

    Attributes:
        format, size, cached: as in `checkpoint.Checkpoint`. content: ids, equal for equal weights.
        problem: why it cannot be used, as far as the names of its files say so.
    """

    format: str | None = None
    size: int | None = None
    cached: bool = False
    content: tuple[str, ...] = ()
    problem: str | None = None


@dataclass(frozen=True, kw_only=True)
class Found:
    """One checkpoint of a site, looked at."""

    model: ModelSettings
    sha: str | None
    place: Place
    files: Files


@dataclass(frozen=True, kw_only=True)
class Site:
    """All checkpoints of a series by name.

    Attributes:
        what: the series in the user's words. places: where each of its names stands in training.
        look: finds one of the names, or a commit that no name is for; may be called from several threads.
    """

    what: str
    places: Mapping[str, Place]
    look: Callable[[str], Found]


def site_of(reference: Reference, selection: Selection, place: PlaceOf, trust: bool, tell: Tell) -> Site:
    """The names there are, by as few requests as that takes; no checkpoint is looked at yet.

    Raises:
        NotFoundError: nothing is there. SourceError: it cannot be had.
        SettingsError: the selection does not fit what `reference` is.
    """
    if reference.path is not None:
        if selection.commits is not None or selection.repos:
            raise SettingsError(f"{reference.id} is a folder and has no commits or repositories; leave them out.")
        return _folders(reference, reference.path, selection.subfolder, place, trust)
    if selection.repos:
        return _repositories(reference, selection.repos, place, trust, tell)
    if selection.subfolder is not None:
        return _subfolders(reference, selection.subfolder, place, trust, tell)
    return _commits(reference, selection.commits, place, trust, tell)


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
    places = {folder: place(folder) for folder in matching if _is_checkpoint(inside(paths, folder), place(folder))}
    if not places:
        raise NotFoundError(f"{reference.id} has no checkpoints in folders {glob}{did_you_mean(glob, sorted(folders))}")

    def look(name: str) -> Found:
        if name not in places:
            raise NotFoundError(f"{reference.id} has no folder {name}; with subfolder: the names are folders.")
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
        found = {name: sha for name, sha in of_owner.items() if fnmatchcase(name, glob)}
        if not found:
            raise NotFoundError(f"There are no models {glob} to see{did_you_mean(glob, list(of_owner))}")
        shas |= found
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


def _folders(reference: Reference, top: Path, glob: str | None, place: PlaceOf, trust: bool) -> Site:
    """Folders on this disk: those directly inside, such as a Trainer leaves, or those that the glob names."""
    # A name that is there as it stands is no pattern.
    literal = glob is not None and (top / glob).is_dir()
    entries = [top / str(glob)] if literal else sorted(top.glob(glob or "*"))
    inner = {folder.relative_to(top).as_posix(): folder for folder in entries if folder.is_dir()}
    places = {
        name: place(name)
        for name, folder in inner.items()
        if _is_checkpoint(names_in(folder, DEPTH), place(name), glob is None)
    }
    if not places:
        raise NotFoundError(
            f"{reference.id} holds no checkpoints: no folder {glob or 'inside it'} has a config.json. Name the folder "
            "above checkpoint-500, checkpoint-1000, …; for a single model use `hf-llc estimate`."
        )

    def look(name: str) -> Found:
        if name not in places:
            raise NotFoundError(f"{reference.id} has no checkpoint {name}; a folder has no commits.")
        return Found(
            model=ModelSettings(model=reference.id, subfolder=name, trust_remote_code=trust),
            sha=None,
            place=places[name],
            files=_local_files(inner[name]),
        )

    return Site(what=reference.id, places=places, look=look)


def look_at(site: Site, names: Sequence[str]) -> list[Found]:
    """The named checkpoints, several at once."""
    return at_once(site.look, names, REQUESTS_AT_ONCE)


def _matches(folder: str, glob: str) -> bool:
    """True if the folder matches name by name: a * does not reach over a slash, as with a path on disk."""
    if folder == glob:
        return True
    parts, patterns = folder.split("/"), glob.split("/")
    return len(parts) == len(patterns) and all(map(fnmatchcase, parts, patterns))


def _is_checkpoint(names: Sequence[str], place: Place, certain: bool = False) -> bool:
    """True for a folder with a model, or with files of another library at a known step; if not `certain`, at a step."""
    if "config.json" in names or (choose(names).weights and not certain):
        return True
    return place.step is not None and (not certain or raw_format(names) is not None)


def _remote_files(repo_id: str, sha: str, subfolder: str | None, tell: Tell) -> Files:
    files = files_of_commit(repo_id, sha, tell)
    known = dict(zip(inside((file.path for file in files), subfolder), _below(files, subfolder), strict=True))
    weights = [known[name] for name in choose(known).weights]
    return Files(
        format=_format(weights[0].path) if weights else None,
        size=sum(file.size for file in weights) or None,
        cached=bool(weights) and client.bytes_to_download(repo_id, sha, weights) == 0,
        content=tuple(sorted(file.oid for file in weights)),
        problem=_problem(known),
    )


def _below(files: Iterable[client.RemoteFile], subfolder: str | None) -> list[client.RemoteFile]:
    return [file for file in files if subfolder is None or file.path.startswith(f"{subfolder}/")]


def _local_files(folder: Path) -> Files:
    try:
        weights = [folder / name for name in chosen_in(folder).weights]
    except UnusableError as error:
        return Files(problem=str(error))
    return Files(
        format=_format(weights[0].name) if weights else None,
        size=sum(path.stat().st_size for path in weights) or None,
        cached=bool(weights),
        content=tuple(sha256_of(path, client.home()) for path in weights),
        problem=_problem(names_in(folder, DEPTH)),
    )


def _format(name: str) -> str:
    return name.rpartition(".")[2]


def _problem(names: Iterable[str]) -> str | None:
    known = list(names)
    try:
        chosen = choose(known)
        refuse_unusable("it", known, chosen)
        if is_partial(chosen.weights):
            return "A part of its weights is missing."
    except UnusableError as error:
        return str(error)
    return None
