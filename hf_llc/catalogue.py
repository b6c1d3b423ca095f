"""The checkpoints of a series: what there is under a name, chosen from, and looked at without downloading weights."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

from hf_llc.adapters import hub
from hf_llc.adapters.hub_errors import endpoint
from hf_llc.adapters.listings import commits, files_of_commit
from hf_llc.adapters.model_files import choose
from hf_llc.checkpoints import Checkpoint
from hf_llc.errors import NotFoundError, SettingsError
from hf_llc.naming import Place, place_of
from hf_llc.references import Reference, parse_model
from hf_llc.selector import Selection
from hf_llc.settings import ModelSettings

Tell = Callable[[str], None]
PlaceOf = Callable[[str], Place]
LISTINGS_AT_ONCE = 8


@dataclass(frozen=True, kw_only=True)
class _Files:
    """The weights of one checkpoint: format, bytes, whether they are here, and an id of their content."""

    format: str | None = None
    size: int | None = None
    cached: bool = False
    content: tuple[str, ...] = ()


def find_checkpoints(
    model: str,
    selection: Selection | None = None,
    *,
    tokens_per_step: int | None = None,
    steps: Mapping[str, int] | None = None,
    trust_remote_code: bool = False,
    tell: Tell = lambda message: None,
) -> list[Checkpoint]:
    """The chosen checkpoints in order of training: branches and tags, or commits, of a repository, or inner folders.

    One request lists the names and one more each commit's files; no weights are downloaded. Weights that are the same,
    by the content ids of their files, are marked in `duplicate_of`.

    Args:
        tokens_per_step: fills `tokens` where the name says nothing.
        steps: the step of names that do not say it, or say it wrongly.
        tell: called with lines worth reading.

    Raises:
        NotFoundError: no such repository, folder or checkpoint. SourceError: it cannot be had.
        SettingsError: `model` names one checkpoint rather than a series.
    """
    reference = parse_model(model, None, endpoint())
    if reference.revision is not None or reference.file is not None:
        raise SettingsError(f"{model} is one checkpoint; name the repository alone and choose with --revisions.")
    selection = selection or Selection()
    known = steps or {}

    def place(name: str) -> Place:
        return replace(place_of(name), step=known[name]) if name in known else place_of(name)

    if reference.path is not None:
        found = _local(reference, reference.path, selection, place, trust_remote_code)
    else:
        found = _remote(reference, selection, place, trust_remote_code, tell)
    return _with_tokens(_marked(found), tokens_per_step)


def without_weights(checkpoints: Sequence[Checkpoint]) -> str | None:
    """The sentence that names the checkpoints that have no weights; None if all have."""
    names = [each.name for each in checkpoints if each.weights is None]
    return f"Without weights: {', '.join(names)}." if names else None


def _remote(
    reference: Reference, selection: Selection, place: PlaceOf, trust: bool, tell: Tell
) -> list[tuple[Checkpoint, tuple[str, ...]]]:
    if selection.commits is None:
        shas = hub.revisions(reference.id, "model", tell)
        places = {name: place(name) for name in shas}
    else:
        titles = commits(reference.id, selection.commits, tell)
        shas = {sha[:12]: sha for sha in titles}
        # A Trainer writes "Training in progress, step 500".
        places = {sha[:12]: place_of(title.lower().replace("step ", "step")) for sha, title in titles.items()}
    names = selection.choose(places, reference.id)
    chosen = {name: shas.get(name) or hub.resolve(reference.id, name, "model", tell) for name in names}
    # A commit asked for by its SHA stands where the name for it stands.
    by_commit = {sha: places[name] for name, sha in shas.items() if places[name].step is not None}

    def look(sha: str) -> _Files:
        known = {file.path: file for file in files_of_commit(reference.id, sha, tell)}
        weights = [known[name] for name in choose(known).weights]
        return _Files(
            format=_format([file.path for file in weights]),
            size=sum(file.size for file in weights) or None,
            cached=bool(weights) and hub.bytes_to_download(reference.id, sha, weights) == 0,
            content=tuple(sorted(file.oid for file in weights)),
        )

    with ThreadPoolExecutor(LISTINGS_AT_ONCE) as pool:
        files = dict(zip(chosen, pool.map(look, chosen.values()), strict=True))
    return [
        _checkpoint(
            name,
            ModelSettings(model=reference.id, revision=sha, trust_remote_code=trust),
            places.get(name) or by_commit.get(sha) or Place(),
            files[name],
            sha,
        )
        for name, sha in chosen.items()
    ]


def _local(
    reference: Reference, folder: Path, selection: Selection, place: PlaceOf, trust: bool
) -> list[tuple[Checkpoint, tuple[str, ...]]]:
    if selection.commits is not None:
        raise SettingsError(f"{reference.id} is a folder and has no commits; leave out commits:{selection.commits}.")
    inner = {entry.name: entry for entry in sorted(folder.iterdir()) if (entry / "config.json").is_file()}
    if not inner:
        raise NotFoundError(
            f"{reference.id} holds no checkpoints: no folder inside it has a config.json. Name the folder above "
            "checkpoint-500, checkpoint-1000, …; for a single model use `hf-llc estimate`."
        )
    names = selection.choose({name: place(name) for name in inner}, reference.id)
    if missing := [name for name in names if name not in inner]:
        raise NotFoundError(f"{reference.id} has no checkpoint {missing[0]}; a folder has no commits.")
    return [
        _checkpoint(
            name,
            ModelSettings(model=str(Path(reference.id) / name), trust_remote_code=trust),
            place(name),
            _local_files(inner[name]),
            None,
        )
        for name in names
    ]


def _local_files(folder: Path) -> _Files:
    known = {entry.name for entry in folder.iterdir() if entry.is_file()}
    weights = [folder / name for name in choose(known).weights]
    return _Files(
        format=_format([path.name for path in weights]),
        size=sum(path.stat().st_size for path in weights) or None,
        cached=bool(weights),
        content=tuple(_digest(path) for path in weights),
    )


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _format(weights: Sequence[str]) -> str | None:
    return weights[0].rpartition(".")[2] if weights else None


def _checkpoint(
    name: str, model: ModelSettings, place: Place, files: _Files, sha: str | None
) -> tuple[Checkpoint, tuple[str, ...]]:
    made = Checkpoint(
        name=name,
        model=model,
        sha=sha,
        stage=place.stage,
        step=place.step,
        tokens=place.tokens,
        weights=files.format,
        size=files.size,
        cached=files.cached,
    )
    return made, files.content


def _marked(found: Sequence[tuple[Checkpoint, tuple[str, ...]]]) -> list[Checkpoint]:
    """The checkpoints, each with the first one of the same weights."""
    first: dict[tuple[str, ...], str] = {}
    marked = []
    for checkpoint, content in found:
        twin = first.setdefault(content, checkpoint.name) if content else checkpoint.name
        marked.append(replace(checkpoint, duplicate_of=None if twin == checkpoint.name else twin))
    return marked


def _with_tokens(checkpoints: Sequence[Checkpoint], per_step: int | None) -> list[Checkpoint]:
    return [
        replace(each, tokens=each.step * per_step)
        if per_step is not None and each.tokens is None and each.step is not None
        else each
        for each in checkpoints
    ]
