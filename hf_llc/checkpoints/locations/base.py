"""What a kind of place is where checkpoints live, and what is known of the checkpoints there."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from hf_llc.checkpoints.checkpoint import ADAPTER
from hf_llc.checkpoints.files import CONFIGS, ModelFiles, choose, is_partial, raw_format, refuse_unusable
from hf_llc.checkpoints.selection import Selection
from hf_llc.checkpoints.source import ModelSource
from hf_llc.checkpoints.step_names import Place
from hf_llc.errors import SettingsError, UnusableError
from hf_llc.hub.parallel import at_once
from hf_llc.settings.model import ModelSettings

Tell = Callable[[str], None]
PlaceOf = Callable[[str], Place]
REQUESTS_AT_ONCE = 8


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


class Location(Protocol):
    """A kind of place that an address names: an entry `s3.py` is asked for every address `s3://…`."""

    def site(self, address: str, selection: Selection, place: PlaceOf, trust: bool, tell: Tell) -> Site:
        """All checkpoints of a series, by as few requests as that takes; none of them is looked at yet.

        Args:
            selection: says where below the address they are; `find.find_checkpoints` chooses from what is returned.
            place: where a name stands in training.

        Raises:
            NotFoundError: nothing is there. SourceError: it cannot be read.
            SettingsError: the selection does not fit, or the address is that of one checkpoint.
        """
        ...

    def source(self, settings: ModelSettings, download: bool, tell: Tell) -> ModelSource:
        """One checkpoint, pinned and on this disk: its folder is `path`. `folder.source_in` makes one of a folder.

        Args:
            settings: what a user typed, or what `Site.look` returned in `Found.model`.
            download: False may leave out the weights.

        Raises:
            SourceError, UnusableError, SettingsError, ResourceError: it cannot be read or is not a model.
        """
        ...


def look_at(site: Site, names: Sequence[str]) -> list[Found]:
    """The named checkpoints, several at once."""
    return at_once(site.look, names, REQUESTS_AT_ONCE)


def refuse_one(address: str) -> SettingsError:
    """The refusal of a single checkpoint where a series is needed."""
    return SettingsError(f"{address} is one checkpoint; name the repository alone and choose with `revisions`.")


def is_checkpoint(names: Sequence[str], place: Place, certain: bool = False) -> bool:
    """True for a folder with a model, or with files of another library at a known step; if not `certain`, at a step."""
    if not {*CONFIGS}.isdisjoint(names) or (choose(names).weights and not certain):
        return True
    return place.step is not None and (not certain or raw_format(names) is not None)


def format_of(chosen: ModelFiles) -> str | None:
    """What `checkpoint.Checkpoint.weights` says of these files."""
    if chosen.is_adapter:
        return ADAPTER
    return chosen.weights[0].rpartition(".")[2] if chosen.weights else None


def problem_of(names: Iterable[str]) -> str | None:
    known = list(names)
    try:
        chosen = choose(known)
        refuse_unusable("it", known, chosen)
        if is_partial(chosen.weights):
            return "A part of its weights is missing."
    except UnusableError as error:
        return str(error)
    return None
