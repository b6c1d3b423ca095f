"""Settings from a file and to one: the options of the command line by their names, with underscores."""

from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, get_type_hints

from hf_llc.errors import SettingsError, did_you_mean
from hf_llc.settings.bounds import checked
from hf_llc.settings.files import write_atomically
from hf_llc.settings.requested import DataSettings, SamplerSettings, of_no_use
from hf_llc.settings.strict_json import clipped
from hf_llc.settings.yaml_file import mapping_text, read_mapping

DATA = {"config": "dataset_config", "revision": "dataset_revision"}
"""Names on the command line of those fields of DataSettings that are called something else there."""
RECORDED = ("n", "device", "batched_chains")
"""Part of a result's settings, but not for a user to set: they follow from text and machine, or from its version."""


def known_settings() -> dict[str, Any]:
    """Type and bounds by name of everything that a settings file may hold."""
    sampler, data = (get_type_hints(kind, include_extras=True) for kind in (SamplerSettings, DataSettings))
    named = {DATA.get(field.name, field.name): data[field.name] for field in fields(DataSettings)}
    return named | {field.name: sampler[field.name] for field in fields(SamplerSettings)}


def read_settings(path: Path) -> dict[str, Any]:
    """Settings by their names on the command line. The `settings` of a result, or its whole JSON, is such a file too.

    So is the `estimate.json` of a run, in which the result is a `payload`.

    Raises:
        NotFoundError: there is no such file.
        SettingsError: it is no mapping, or a name is not known (near ones are named), or a value is of another type
            or out of its bounds.
    """
    stored = read_mapping(path)
    for part in ("payload", "settings"):
        if isinstance(stored.get(part), dict):
            stored = stored[part]
    known = known_settings()
    found = {}
    # A result of independent draws records them as chains without steps, which nobody can ask for.
    left_out = (*RECORDED, *of_no_use(stored))
    for name, value in stored.items():
        if name in left_out:
            continue
        if name not in known:
            raise SettingsError(
                f"{path} sets {clipped(name)}, which there is not{did_you_mean(name[:60], list(known))}"
            )
        found[name] = _typed(name, value, known[name], path)
    return found


def write_settings(path: Path, settings: Mapping[str, Any], header: Sequence[str], remarks: Mapping[str, str]) -> None:
    """Writes a file that `read_settings` reads: paragraphs on the whole, then each setting below its own remark."""
    write_atomically(path, mapping_text(settings, header, remarks).encode())


def _typed(name: str, value: Any, hint: Any, path: Path) -> Any:
    """The value as its setting's type."""
    if name == "params" and isinstance(value, str):
        # A result joins its patterns by commas.
        value = [part for part in value.split(",") if part]
    try:
        return checked(name, value, hint)
    except SettingsError as error:
        raise SettingsError(f"{path}: {error}") from None
