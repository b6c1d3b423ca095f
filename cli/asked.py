"""What the command line and a settings file ask for, as settings; an option that a command lacks has its default."""

from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from hf_llc.settings.requested import DataSettings, SamplerSettings

GIVEN = {"COMMANDLINE", "ENVIRONMENT"}


def settings_of(context: typer.Context, file: Path | None) -> "tuple[DataSettings, SamplerSettings]":
    """Data and sampler settings: what was given on the command line, else what the file says, else the defaults.

    Raises:
        NotFoundError, SettingsError: see `hf_llc.settings.file.read_settings`, and the settings' own ranges.
    """
    from hf_llc.settings.requested import DataSettings, SamplerSettings

    values = dict(context.params)
    if file is not None:
        from hf_llc.settings.file import read_settings

        values |= {name: value for name, value in read_settings(file).items() if not _given(context, name)}
    values["params"] = tuple(values["params"] or ())
    return DataSettings(**_data(values)), SamplerSettings(**_part(SamplerSettings, values))


def _given(context: typer.Context, name: str) -> bool:
    source = context.get_parameter_source(name)
    return source is not None and source.name in GIVEN


def _part(kind: type[Any], values: Mapping[str, Any]) -> dict[str, Any]:
    return {field.name: values[field.name] for field in fields(kind) if field.name in values}


def _data(values: Mapping[str, Any]) -> dict[str, Any]:
    from hf_llc.settings.file import DATA
    from hf_llc.settings.requested import DataSettings

    return {field.name: values[DATA.get(field.name, field.name)] for field in fields(DataSettings)}
