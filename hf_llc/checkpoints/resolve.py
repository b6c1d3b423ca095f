"""From a model's address to the kind of place that it names, and to the checkpoint there."""

from collections.abc import Callable
from contextlib import nullcontext
from functools import cache

from hf_llc.checkpoints.adapter import with_base, without_base
from hf_llc.checkpoints.foreign_code import with_code
from hf_llc.checkpoints.identity import readable
from hf_llc.checkpoints.locations import LOCATIONS
from hf_llc.checkpoints.locations.base import Location
from hf_llc.checkpoints.source import ModelSource
from hf_llc.hub.errors import endpoint
from hf_llc.hub.reference import is_foreign, parse_model
from hf_llc.settings.model import ModelSettings

FindModel = Callable[[ModelSettings], ModelSource]


def location_of(address: str) -> Location:
    """The kind of place that an address names: what its `scheme://` says, else a folder if there is one, else the Hub.

    Raises:
        NotFoundError, SettingsError: see `reference.parse_model`.
    """
    scheme = address.partition("://")[0]
    if is_foreign(address) and scheme in LOCATIONS:
        return LOCATIONS[scheme]
    return LOCATIONS["hub" if parse_model(address, None, endpoint()).path is None else "folder"]


def series_id(address: str) -> str:
    """What a series of checkpoints is called in results: the id of its repository, or the address as it is typed."""
    known = is_foreign(address) and address.partition("://")[0] in LOCATIONS
    return address if known else parse_model(address, None, endpoint()).id


def find_model(
    settings: ModelSettings,
    *,
    download: bool = True,
    tell: Callable[[str], None] = lambda message: None,
    find_base: FindModel | None = None,
) -> ModelSource:
    """The checkpoint, pinned and on this disk; of an adapter its base too.

    Args:
        download: False leaves out the weights: `download_bytes` then says how much is missing, and `path` holds the
            config and tokenizer, or is None if the repository has none of its own.
        tell: called with lines worth reading (a retry, what was used while offline).
        find_base: how the base of an adapter is found; None asks for it anew.

    Raises:
        SourceError, UnusableError, SettingsError, ResourceError: it cannot be read or is not a model.
    """
    source = _found(settings, download, tell)
    if source.adapter:
        return with_base(source, settings.base_model, find_base or base_finder(download, tell))
    without_base(settings)
    return source


def base_finder(download: bool, tell: Callable[[str], None]) -> FindModel:
    """Finds bases of adapters, each once, however many adapters are put on it; an adapter is left without its own."""

    @cache
    def find(settings: ModelSettings) -> ModelSource:
        return _found(settings, download, tell)

    return find


def _found(settings: ModelSettings, download: bool, tell: Callable[[str], None]) -> ModelSource:
    source = location_of(settings.model).source(settings, download, tell)
    if source.adapter:
        return source
    with readable(source.path) if source.is_local and source.path else nullcontext():
        return with_code(source, tell)
