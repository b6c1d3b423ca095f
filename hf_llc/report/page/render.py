"""The page of one or several runs: one HTML file with its data, its script and its library (Observable Plot on D3)."""

import base64
import hashlib
import json
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from jinja2 import Environment, StrictUndefined
from markdown_it import MarkdownIt
from markupsafe import Markup

from hf_llc.errors import ResourceError, SettingsError, UnusableError, counted, listed, one_line
from hf_llc.hub.reference import is_remote
from hf_llc.report.card.escaping import measures_command, with_error
from hf_llc.report.card.files import headline_of, portable, without_folders
from hf_llc.report.card.render import Content, render_meaning
from hf_llc.report.compare import compare
from hf_llc.report.component_files import MEASURED, load_components
from hf_llc.report.load import asked_for, folder_of, load, own_command
from hf_llc.report.page.data import FIRST, ShownRun, facts_of, page_data
from hf_llc.report.page.matrices import matrices_of
from hf_llc.results.component_curves import INDEX, ComponentCurves
from hf_llc.results.curve import Curve, Point
from hf_llc.results.estimate import Estimate
from hf_llc.results.progress import Observer
from hf_llc.results.provenance import versions
from hf_llc.settings.bounds import checked_arguments, shown
from hf_llc.settings.component import moves_all
from hf_llc.settings.files import write_atomically

MOST_NAMED = 3
"""Runs that the title names."""
PAGE, PAGE_OF_SEVERAL = "report.html", "hf-llc-report.html"
SCRIPTS = ("d3.min.js", "plot.umd.min.js", "shared.js", "heat_map.js", "layers.js", "matrices.js", "page.js")


@checked_arguments
def write_report(
    *runs: Any,
    path: Path | None = None,
    observer: Observer | None = None,
) -> Path:
    """Write a page that shows runs: curves, verdicts, chains, settings and what the numbers do not mean.

    It is one HTML file that loads nothing from anywhere, and holds no path of this machine. Of runs that recorded
    losses it has the influence of items on each other, with the beginnings of their texts, and susceptibilities.

    Args:
        runs: one or more `Curve`, `Estimate` or `ComponentCurves`, folders that scan, merge, estimate or demo left, or
            `hf://…` of published runs.
        path: the file; None means `report.html` in the folder of the only run, or `hf-llc-report.html`.
        observer: receives messages; None is silent.

    Raises:
        SettingsError: there is no run, or one of them is something else.
        NotFoundError: a folder holds no finished run. UnusableError: a run has no number.
        SourceError: a run is damaged or cannot be read. ResourceError: the file cannot be written.
    """
    observer = observer or Observer()
    if not runs:
        raise SettingsError("write_report needs a run: a folder, a Curve, an Estimate or hf://….")
    content = page_of(runs, observer, with_matrices=True)
    place = path or (_folder(runs[0]) / PAGE if len(runs) == 1 else Path(PAGE_OF_SEVERAL))
    try:
        write_atomically(place, content)
    except OSError as error:
        raise ResourceError(
            f"{place} cannot be written ({error.strerror}); name another file with --output."
        ) from error
    return place


def page_of(runs: Sequence[Any], observer: Observer, *, with_matrices: bool = False) -> bytes:
    """The page of these runs, as `write_report` writes it.

    Args:
        with_matrices: whether what was recorded is shown, which has beginnings of the texts of the data in it.
    """
    shown_runs, differences = _shown_runs(runs, observer)
    matrices = matrices_of(shown_runs, observer) if with_matrices else []
    data = page_data(shown_runs, differences, matrices)
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True
    )
    scripts = [Markup(_file(name)) for name in SCRIPTS]
    page = environment.from_string(_file("page.html.jinja")).render(
        title=_title(shown_runs),
        is_curve=any(len(run.curve.points) > 1 for run in shown_runs),
        style=Markup(_file("page.css")),
        scripts=scripts,
        hashes=" ".join(f"'{_hash(script)}'" for script in scripts),
        licenses=_file("LICENSES.txt"),
        data=Markup(_json(data)),
        panels=[panel for panel in data["panels"] if panel["name"] not in FIRST],
        shown_number=_number,
        runs=[
            {
                "name": run.name,
                "points": [(point, with_error(point.llc, point.stderr)) for point in run.curve.points],
                "shown": shown["points"],
                "facts": facts_of(run),
                "fits": [str(fit) for fit in run.curve.line_fits.values()],
                "command": run.command,
            }
            for run, shown in zip(shown_runs, data["runs"], strict=True)
        ],
        matrices=matrices,
        differences=differences,
        apart=sum(not run.comparable for run in shown_runs),
        meaning=Markup(_meaning(shown_runs)),
        version=versions()["hf-llc"],
    )
    return page.encode()


def _title(runs: Sequence[ShownRun]) -> str:
    """The names of the runs; of many the models, and where there are components what of each model is shown."""
    if len(runs) <= MOST_NAMED:
        return one_line(" and ".join(dict.fromkeys(run.name for run in runs)))
    models: dict[str, list[str]] = {}
    for run in [run for run in runs if _has_numbers(run.curve)] or runs:
        models.setdefault(Path(run.curve.model).name, []).append(run.curve.settings.get("component") or "")
    if not any(name and not moves_all(name) for names in models.values() for name in names):
        return one_line(f"{len(runs)} runs of {listed(list(models))}")
    return one_line(listed([f"{_contents(names)} of {model}" for model, names in models.items()]))


def _contents(components: Sequence[str]) -> str:
    """What of a model is shown, by the components of its runs; "" is a run without one."""
    whole = sum(not name or moves_all(name) for name in components)
    parts = counted(len({name for name in components if name and not moves_all(name)}), "component")
    if not whole:
        return parts
    runs = "the whole" if whole == 1 else f"{whole} runs of the whole"
    return runs if whole == len(components) else f"{runs} and {parts}"


def _shown_runs(runs: Sequence[Any], observer: Observer) -> tuple[list[ShownRun], tuple[str, ...]]:
    """The runs in the order given, each with a name of its own, and why they are not comparable."""
    read = [each for index, run in enumerate(runs) for each in _curves(run, index, observer)]
    public = [_public(curve, folder_of(place)) for place, curve in read]
    names, apart = [Path(public[0].model).name], frozenset[str]()
    differences: tuple[str, ...] = ()
    if len(read) > 1:
        curves = [replace(curve, run_dir=place) for curve, (place, _) in zip(public, read, strict=True)]
        if all(curve.settings.get("component") or not _has_numbers(curve) for curve in curves):
            # Drawn together because another part of the model moves in each; measures alone have no settings.
            curves = [
                replace(curve, settings={**curve.settings, "component": None} if curve.settings else {})
                for curve in curves
            ]
        compared = compare(curves)
        names, differences, apart = list(compared.names), compared.differences, compared.apart
    shown_runs = [
        ShownRun(
            name=name,
            curve=curve,
            kept=original,
            place=place,
            comparable=name not in apart,
            command=_command(curve, name, own_command(place, observer.tell) if place else None, place),
        )
        for name, curve, (place, original) in zip(names, public, read, strict=True)
    ]
    return shown_runs, differences


def _curves(run: Any, index: int, observer: Observer) -> list[tuple[str, Curve]]:
    """The curves of a run, several of one of components, each after its folder or URI."""
    if isinstance(run, str | Path) and not is_remote(str(run)) and (Path(run) / INDEX).is_file():
        run = load_components(Path(run))
    if isinstance(run, ComponentCurves):
        measured = {} if run.measured is None else {MEASURED: run.measured}
        return [(str(Path(run.run_dir) / name), curve) for name, curve in {**run.curves, **measured}.items()]
    if isinstance(run, str | Path):
        return [(str(run), load(run, observer.tell))]
    if not isinstance(run, Curve | Estimate):
        raise SettingsError(f"runs[{index}] must be a Curve, an Estimate, a folder or hf://…, got {shown(run)}.")
    curve = run if isinstance(run, Curve) else Curve.of_estimate(run)
    return [(curve.run_dir, curve)]


def _public(curve: Curve, folder: Path) -> Curve:
    """The curve without paths of this machine.

    Raises:
        UnusableError: it has no number of anything.
    """
    if _has_numbers(curve):
        return portable(curve, folder)
    if not any(_has_values(point) for point in curve.points):
        raise UnusableError(f"The run of {curve.model} has no number to show; see why with hf-llc show.")
    model = Path(curve.model).name if Path(curve.model).expanduser().exists() else curve.model
    return replace(curve, model=one_line(model), points=tuple(map(without_folders, curve.points)), run_dir=".")


def _has_values(point: Point) -> bool:
    return any(value is not None for each in point.measures.values() for value in each.to_row().values())


def _has_numbers(curve: Curve) -> bool:
    return any(point.llc is not None for point in curve.points)


def _command(curve: Curve, name: str, own: str | None, place: str) -> str:
    """The command that makes the numbers again; "" for measures alone where no folder says of which data."""
    if _has_numbers(curve):
        return _content(curve, name, own).reproduced_by
    asked = None if own or not place or is_remote(place) else asked_for(Path(place))
    return own or ("" if asked is None else measures_command(curve.model, curve.points, asked))


def _content(curve: Curve, name: str, command: str | None = None) -> Content:
    return Content(curve=curve, name=name, headline=headline_of(curve, ()), command=command)


def _meaning(runs: Sequence[ShownRun]) -> str:
    """What the numbers of the first run with some mean, as HTML; "" of measures alone."""
    run = next((run for run in runs if _has_numbers(run.curve)), None)
    if run is None:
        return ""
    return str(MarkdownIt("commonmark", {"html": False}).render(render_meaning(_content(run.curve, run.name))))


def _number(value: float | None, error: float | None) -> str:
    """A value of a table of measures; "" where it was not measured."""
    if value is None:
        return ""
    return f"{value:.5g}" if error is None else with_error(value, error)


def _folder(run: Any) -> Path:
    return folder_of(run if isinstance(run, str | Path) else run.run_dir)


def _json(value: Any) -> str:
    """JSON that ends no script element, whatever words are in it."""
    text = json.dumps(value, allow_nan=False, ensure_ascii=False, separators=(",", ":"))
    return text.translate({ord(char): f"\\u{ord(char):04x}" for char in "<>&\u2028\u2029"})


@cache
def _file(name: str) -> str:
    return (files("hf_llc.report.page") / name).read_text(encoding="utf-8")


def _hash(script: str) -> str:
    """What a Content-Security-Policy calls a script that may run."""
    return "sha256-" + base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
