"""What the command line and a settings file ask for, as settings."""

from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from hf_llc.settings.data import DataSettings
    from hf_llc.settings.model import ModelSettings
    from hf_llc.settings.sampler import SamplerSettings

GIVEN = {"COMMANDLINE", "ENVIRONMENT"}


def settings_of(
    context: typer.Context, file: Path | None, assignments: Sequence[str] | None
) -> "tuple[DataSettings, SamplerSettings]":
    """Data and sampler settings: options of the command line, else `--set`, else the settings file, else those of
    the recipe, else the defaults.

    Raises:
        NotFoundError, SettingsError: see `hf_llc.settings.file.read_settings` and the ranges of the settings.
    """
    from hf_llc.settings.data import DataSettings
    from hf_llc.settings.file import parse_assignments, read_settings
    from hf_llc.settings.option import settings_in
    from hf_llc.settings.recipes import with_recipe
    from hf_llc.settings.sampler import SamplerSettings

    values = dict(context.params)
    stored = {**(read_settings(file) if file is not None else {}), **parse_assignments(assignments or ())}
    if _given(context, "recipe"):
        stored["recipe"] = values["recipe"]
    stored = with_recipe(stored)
    values |= {name: value for name, value in stored.items() if not _given(context, name)}
    values["params"] = tuple(values["params"] or ())

    def of(kind: type[Any]) -> dict[str, Any]:
        names = {each.field: each.name for each in settings_in(kind)}
        return {field.name: values[names[field.name]] for field in fields(kind) if names[field.name] in values}

    return DataSettings(**of(DataSettings)), SamplerSettings(**of(SamplerSettings))


def checkpoint_of(context: typer.Context) -> "ModelSettings":
    """The checkpoint that a command is about.

    Raises:
        SettingsError: see `ModelSettings`.
    """
    from hf_llc.settings.model import ModelSettings
    from hf_llc.settings.option import settings_in

    parameters = {
        each.field: context.params[each.name] for each in settings_in(ModelSettings) if each.name in context.params
    }
    return ModelSettings(model=context.params["model"], **parameters)


def _given(context: typer.Context, name: str) -> bool:
    source = context.get_parameter_source(name)
    return source is not None and source.name in GIVEN
