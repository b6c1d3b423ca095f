"""The files of several components beside a folder for each: their names, rows as JSON lines and Parquet, pictures."""

import json
import os
from dataclasses import replace
from pathlib import Path

from hf_llc.errors import NotFoundError, ResourceError, SettingsError, SourceError
from hf_llc.report.export import ROWS, TABLE
from hf_llc.report.load import AGAIN, ESTIMATE, SCAN, load_run
from hf_llc.report.parquet import parquet
from hf_llc.results.component_curves import INDEX, ComponentCurves
from hf_llc.results.curve import Curve
from hf_llc.results.estimate import SCHEMA
from hf_llc.results.figures.safely import drawn
from hf_llc.results.progress import Observer
from hf_llc.settings.component import check_component, require_one
from hf_llc.settings.files import write_atomically
from hf_llc.settings.strict_json import DamagedError, parsed

PICTURES = ("components.png", "components.svg")
MEASURED = "measures"
"""Folder of a scan of measures of the whole model."""


def keep_components(curves: ComponentCurves, observer: Observer) -> ComponentCurves:
    """Writes the files about all components that the folder has numbers of, those of earlier calls first; returns them
    all."""
    folder = Path(curves.run_dir)
    every = _with_earlier(curves, folder, observer)
    rows = every.to_rows()
    names = {"schema": SCHEMA, "model": every.model, "components": list(every.curves)}
    write_atomically(folder / ROWS, "".join(json.dumps(row, allow_nan=False) + "\n" for row in rows).encode())
    write_atomically(folder / TABLE, parquet(rows, every.columns))
    write_atomically(folder / INDEX, json.dumps(names).encode())
    draw_components(every, observer)
    return every


def _with_earlier(curves: ComponentCurves, folder: Path, observer: Observer) -> ComponentCurves:
    """The curves, after those of earlier calls that can be read; the observer is told of others."""
    if not (folder / INDEX).is_file():
        return curves
    earlier: dict[str, Curve] = {}
    names: list[str] = []
    try:
        names = read_index(folder)[1]
    except SourceError as error:
        observer.tell(f"Components of earlier calls are left out: {error}")
    for name in names:
        try:
            earlier[name] = curves.curves.get(name) or load_run(folder / name)
        except (NotFoundError, SourceError) as error:
            observer.tell(f"Component {name} of an earlier call is left out: {error}")
    measured = curves.measured or _measured(folder)
    return replace(curves, curves={**earlier, **curves.curves}, measured=measured)


def _measured(folder: Path) -> Curve | None:
    """The scan of measures of the whole model; None if there is none."""
    return load_run(folder / MEASURED) if (folder / MEASURED / SCAN).is_file() else None


def refuse_components(folder: Path) -> None:
    """Raise ResourceError if the folder holds runs of several components, whose results one run would overwrite."""
    if os.path.exists(folder / INDEX):  # False where the name is too long
        raise ResourceError(
            f"{folder} holds runs of several components, and this run would overwrite their results. Choose another "
            "`output_dir`; to add components to them, name several, as in `component=l0h0,l0h1`."
        )


def refuse_a_run(folder: Path) -> None:
    """Raise ResourceError if the folder is that of a run or scan, with which components would be mixed."""
    # False where the name is too long, which `RunStore.open` says.
    is_there = {name: os.path.exists(folder / name) for name in (SCAN, ESTIMATE, INDEX)}
    if (is_there[SCAN] or is_there[ESTIMATE]) and not is_there[INDEX]:
        raise ResourceError(
            f"{folder} holds another run, with whose results those of several components would be mixed. Choose "
            "another `output_dir`."
        )


def draw_components(curves: ComponentCurves, observer: Observer) -> list[Path]:
    """The pictures that now are in the folder."""

    def draw(path: Path) -> None:
        # Not before there is something to draw.
        from hf_llc.results.figures import components

        components.components(path, curves)

    return drawn([Path(curves.run_dir) / name for name in PICTURES], draw, observer.tell)


def read_index(folder: Path) -> tuple[str, list[str]]:
    """The model of a folder that `keep_components` wrote, and the names of the components in it.

    Raises:
        NotFoundError: the folder holds no such run. SourceError: it is damaged.
    """
    path = folder / INDEX
    if not path.is_file():
        raise NotFoundError(f"{folder} holds no components ({INDEX}).")
    try:
        stored = parsed(path.read_bytes())
        if not isinstance(stored, dict) or stored.get("schema") != SCHEMA:
            raise DamagedError("the schema is another one")
        names, model = stored.get("components"), stored.get("model")
        if not isinstance(names, list) or not isinstance(model, str):
            raise DamagedError("components or model are missing")
        for name in names:
            check_component(str(name))
            require_one(name, "")
    except (DamagedError, SettingsError) as error:
        raise SourceError(f"{path} is damaged ({error}). {AGAIN}") from error
    return model, names


def load_components(folder: Path) -> ComponentCurves:
    """What `keep_components` wrote.

    Raises:
        NotFoundError: the folder holds no such run. SourceError: it is damaged.
    """
    model, names = read_index(folder)
    curves = {name: load_run(folder / name) for name in names}
    return ComponentCurves(model=model, curves=curves, run_dir=str(folder), measured=_measured(folder))
