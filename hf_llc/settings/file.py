"""Settings from a file and to one: the options of the command line by their names, with underscores."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, get_args, get_type_hints

from hf_llc.errors import SettingsError, did_you_mean
from hf_llc.settings.bounds import checked, shown
from hf_llc.settings.data import DataSettings
from hf_llc.settings.files import write_atomically
from hf_llc.settings.option import settings_in
from hf_llc.settings.posterior import has_length, of_no_use
from hf_llc.settings.sampler import SamplerSettings
from hf_llc.settings.stopping import seconds_in
from hf_llc.settings.strict_json import clipped
from hf_llc.settings.yaml_file import mapping_text, read_mapping, scalar

RECORDED = ("n", "device", "batched_chains")
"""Part of a result's settings, but not for a user to set: they follow from text and machine, or from its version."""
SWITCH = {"yes": True, "on": True, "true": True, "no": False, "off": False, "false": False}
"""Words for True and False, of which YAML 1.1 knows more than YAML 1.2."""


def known_settings() -> dict[str, Any]:
    """Type and bounds by name of everything that a settings file may hold."""
    known: dict[str, Any] = {}
    for kind in (DataSettings, SamplerSettings):
        hints = get_type_hints(kind, include_extras=True)
        known |= {setting.name: hints[setting.field] for setting in settings_in(kind)}
    return known


def by_field_name(name: str) -> str:
    """The name of the setting that is an option of another name, such as `budget` of `--budget`; others as they are."""
    for kind in (DataSettings, SamplerSettings):
        for setting in settings_in(kind):
            if name == setting.flag.lstrip("-").replace("-", "_"):
                return setting.name
    return name


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
    return checked_settings(stored, str(path))


def checked_settings(stored: Mapping[str, Any], source: str) -> dict[str, Any]:
    """The settings, each in its type; what a result records and nobody can ask for is left out.

    Args:
        source: what a message says that they come from.

    Raises:
        SettingsError: a name is not known (near ones are named), or a value is of another type or out of its bounds.
    """
    # A result of independent draws records them as chains without steps.
    left_out = (*RECORDED, *of_no_use(stored))
    if "n" in stored and not has_length(stored):
        left_out = (*left_out, "context_length")
    settings = {by_field_name(str(name)): value for name, value in stored.items()}
    return {name: _checked(name, value, source) for name, value in settings.items() if name not in left_out}


def parse_assignments(assignments: Sequence[str]) -> dict[str, Any]:
    """Settings by name from texts `NAME=VALUE`, the value as YAML has it.

    Raises:
        SettingsError: there is no `=`, a name is not known (near ones are named), or a value is of another type or out
            of its bounds.
    """
    settings = {}
    for text in assignments:
        name, joined, value = text.partition("=")
        if not joined:
            raise SettingsError(f"--set takes NAME=VALUE, such as --set burn_in=400, got {shown(text)}.")
        name = by_field_name(name.strip().replace("-", "_"))
        settings[name] = _checked(name, scalar(value, f"--set {clipped(text)}"), "--set")
    return settings


def write_settings(path: Path, settings: Mapping[str, Any], header: Sequence[str], remarks: Mapping[str, str]) -> None:
    """Writes a file that `read_settings` reads: paragraphs on the whole, then each setting below its own remark."""
    write_atomically(path, mapping_text(settings, header, remarks).encode())


def near_settings(name: str) -> str:
    """`; did you mean lr?`: the settings that an unknown name may stand for, as `errors.did_you_mean` has them."""
    settings = [setting for kind in (DataSettings, SamplerSettings) for setting in settings_in(kind)]
    meant = [setting.name for setting in settings if name in setting.option.also]
    return f"; did you mean {meant[0]}?" if meant else did_you_mean(name[:60], [setting.name for setting in settings])


def _checked(name: str, value: Any, source: str) -> Any:
    """The value in the type of its setting; `source` is what a message says that it comes from."""
    known = known_settings()
    if name not in known:
        raise SettingsError(f"{source}: no setting {clipped(name)}{near_settings(name)}")
    if name == "params" and isinstance(value, str):
        # A result joins its patterns by commas.
        value = [part for part in value.split(",") if part]
    if bool in get_args(known[name]) and isinstance(value, str):
        if value.lower() not in SWITCH:
            raise SettingsError(f"{source}: {name} must be yes, no, true or false, got {shown(value)}")
        value = SWITCH[value.lower()]
    if name == "budget_seconds" and isinstance(value, str):
        try:
            value = seconds_in(value)
        except ValueError as error:
            raise SettingsError(f"{source}: {name} {error}") from None
    try:
        return checked(name, value, known[name])
    except SettingsError as error:
        raise SettingsError(f"{source}: {error}") from None
