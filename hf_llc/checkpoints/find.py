"""The checkpoints of a series: what there is under a name, chosen from, and looked at without downloading weights."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Annotated

from hf_llc.checkpoints.checkpoint import Checkpoint
from hf_llc.checkpoints.locations.base import Found, look_at
from hf_llc.checkpoints.resolve import location_of
from hf_llc.checkpoints.selection import Selection
from hf_llc.checkpoints.step_names import Place, place_of
from hf_llc.settings.bounds import Bounds, checked_arguments
from hf_llc.settings.limits import MOST_TOKENS

Tell = Callable[[str], None]


@checked_arguments
def find_checkpoints(
    model: str,
    selection: Selection | None = None,
    *,
    tokens_per_step: Annotated[int | None, Bounds(low=1, high=MOST_TOKENS)] = None,
    steps: Mapping[str, int] | None = None,
    trust_remote_code: bool = False,
    tell: Tell = lambda message: None,
) -> list[Checkpoint]:
    """The chosen checkpoints of a series in order of training.

    One request lists the names and one more each commit's files; no weights are downloaded. Weights that are the same,
    by the content ids of their files, are marked in `duplicate_of`.

    Args:
        model: the Hub id of a repository with checkpoints, or a local folder of checkpoints.
        selection: which of them, and where they are; None takes all that have a step in their name.
        tokens_per_step: fills `tokens` where the name says nothing.
        steps: the step of names that do not say it, or say it wrongly.
        trust_remote_code: recorded with the checkpoints, for whoever loads them.
        tell: called with lines worth reading.

    Raises:
        NotFoundError: no such repository, folder or checkpoint. SourceError: it cannot be read.
        SettingsError: `model` names one checkpoint rather than a series.
    """
    selection = selection or Selection()
    known = steps or {}

    def place(name: str) -> Place:
        return replace(place_of(name), step=known[name]) if name in known else place_of(name)

    site = location_of(model).site(model, selection, place, trust_remote_code, tell)
    names = selection.choose(site.places, site.what)
    entries = look_at(site, names)
    checkpoints = [_checkpoint(name, each) for name, each in zip(names, entries, strict=True)]
    return _with_tokens(_marked(checkpoints, [each.files.content for each in entries]), tokens_per_step)


def without_weights(checkpoints: Sequence[Checkpoint]) -> str | None:
    """Those that have no weights that can be used, by name, a line for each reason; None if all have."""
    names: dict[str, list[str]] = {}
    for each in checkpoints:
        if each.problem is not None:
            names.setdefault(each.problem, []).append(each.name)
    return "\n".join(f"{', '.join(those)}: {reason}" for reason, those in names.items()) or None


def _checkpoint(name: str, entry: Found) -> Checkpoint:
    return Checkpoint(
        name=name,
        model=entry.model,
        sha=entry.sha,
        stage=entry.place.stage,
        step=entry.place.step,
        tokens=entry.place.tokens,
        weights=entry.files.format,
        size=entry.files.size,
        cached=entry.files.cached,
        problem=entry.files.problem,
    )


def _marked(checkpoints: Sequence[Checkpoint], contents: Sequence[tuple[str, ...]]) -> list[Checkpoint]:
    """The checkpoints, each with the first one of the same weights that can be used."""
    first: dict[tuple[str, ...], str] = {}
    marked = []
    for checkpoint, content in zip(checkpoints, contents, strict=True):
        known = content and checkpoint.problem is None
        twin = first.setdefault(content, checkpoint.name) if known else checkpoint.name
        marked.append(replace(checkpoint, duplicate_of=None if twin == checkpoint.name else twin))
    return marked


def _with_tokens(checkpoints: Sequence[Checkpoint], per_step: int | None) -> list[Checkpoint]:
    return [
        replace(each, tokens=each.step * per_step)
        if per_step is not None and each.tokens is None and each.step is not None
        else each
        for each in checkpoints
    ]
