"""Settings by name on top of dataclasses: what a Python call gives beside them."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from hf_llc.errors import SettingsError
from hf_llc.settings.bounds import checked
from hf_llc.settings.data import DataSettings
from hf_llc.settings.file import by_field_name, checked_settings, near_settings, read_settings
from hf_llc.settings.option import settings_in
from hf_llc.settings.recipes import with_recipe
from hf_llc.settings.sampler import SamplerSettings


def requested(
    data: DataSettings,
    sampler: SamplerSettings | str | None,
    settings: Any,
    overrides: Mapping[str, Any],
    function: str,
) -> tuple[DataSettings, SamplerSettings]:
    """The settings that a call of the Python API asks for.

    Args:
        sampler: all settings of the sampler, or the name of one. settings: as in `settings_from`; they win over
            SamplerSettings, and the name of a sampler over them.
        overrides: by the names of a settings file: fields of SamplerSettings and of DataSettings, of which
            `dataset_config` and `dataset_revision` are called so; they win over all others. A `recipe` gives what
            nothing else does.
        function: what a message says that was called.

    Raises:
        SettingsError: a name is not known (near ones are named), or a value is of another type or out of its bounds.
    """
    named = {by_field_name(name): value for name, value in overrides.items()}
    if isinstance(budget := named.get("budget_seconds"), str):
        named |= checked_settings({"budget_seconds": budget}, function)
    overrides = {**settings_from(settings), **({"sampler": sampler} if isinstance(sampler, str) else {}), **named}
    sampler = sampler if isinstance(sampler, SamplerSettings) else SamplerSettings()
    recipe = overrides.get("recipe", sampler.recipe)
    # What the SamplerSettings have other than their defaults was given.
    overrides = {
        name: value
        for name, value in with_recipe({**overrides, "recipe": recipe}).items()
        if name in overrides or getattr(sampler, name, None) == getattr(SamplerSettings, name, None)
    }
    fields = {kind: {each.name: each.field for each in settings_in(kind)} for kind in (DataSettings, SamplerSettings)}
    for name in overrides:
        if not any(name in names for names in fields.values()):
            raise SettingsError(f"{function} has no setting {name[:60]}{near_settings(name)}")
    of_data, of_sampler = (
        {names[name]: value for name, value in overrides.items() if name in names} for names in fields.values()
    )
    return replace(data, **of_data), replace(sampler, **of_sampler)


def settings_from(source: Any) -> dict[str, Any]:
    """Settings by name from a settings file, a mapping, or a result that has such `settings`.

    Raises:
        NotFoundError, SettingsError: see `file.read_settings`.
    """
    if source is None:
        return {}
    if isinstance(source, str | Path):
        return read_settings(checked("settings", source, Path))
    settings = getattr(source, "settings", source)
    if hasattr(settings, "to_dict"):
        settings = settings.to_dict()
    if not isinstance(settings, Mapping):
        raise SettingsError(f"settings must be a settings file, a mapping or a result, got {type(source).__name__}.")
    return checked_settings(settings, "settings")
