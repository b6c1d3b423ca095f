"""A curve as the files that are published: nothing in them names a folder of this machine."""

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from hf_llc.errors import SettingsError, UnusableError, did_you_mean, one_line
from hf_llc.hub.publication import Kind
from hf_llc.hub.reference import is_remote
from hf_llc.report.card.escaping import is_local, last_estimate
from hf_llc.report.card.merge import merge
from hf_llc.report.card.metadata import (
    COMPONENT_PICTURE,
    COMPONENT_ROWS,
    PICTURE,
    RESULTS,
    SETTINGS,
    VECTORS,
)
from hf_llc.report.card.render import (
    Content,
    own_entries,
    render_dataset_card,
    render_model_card,
    render_section,
    render_trainer_card,
    settings_file,
    without_paths,
)
from hf_llc.report.card.trainer_state import training_facts
from hf_llc.results.component_curves import ComponentCurves
from hf_llc.results.curve import Curve, Point
from hf_llc.results.figures.safely import drawn
from hf_llc.results.jsonl import lines_of
from hf_llc.settings.files import write_atomically

CARD = "README.md"
FOLDERS = re.compile(r"(?<![\w.:/])/(?:[^\s/]+/)+")
"""The folders of a path from the root of a disk; in a web address they follow on a colon or a slash."""


def portable(curve: Curve, root: Path) -> Curve:
    """The curve as it is published: paths relative to its folder or bare names, `run_dir` a dot.

    Args:
        root: where its folder is now.

    Raises:
        UnusableError: none of its points has a number.
    """
    if all(point.llc is None for point in curve.points):
        raise UnusableError(f"The run of {curve.model} has no number to publish; see it with hf-llc show.")
    if is_remote(curve.run_dir):
        return replace(curve, run_dir=".")
    if Path(curve.run_dir).is_absolute():
        root = Path(curve.run_dir)  # where it was made, even if it has been moved since
    known = [root.resolve(), Path(curve.model).expanduser().absolute().parent, Path.cwd(), Path.home()]
    local = is_local(last_estimate(curve.points))
    points = [_portable(point, root, known) for point in curve.points]
    model = one_line(Path(curve.model).name if local else curve.model)
    return Curve.of_points(model, points, run_dir=".", versions=curve.versions)


def _portable(point: Point, root: Path, known: Sequence[Path]) -> Point:
    estimate = None if point.estimate is None else without_paths(point.estimate, root)
    # A single estimate of a folder has no other name than the hash of its files.
    named = (
        point.revision if estimate is None or not point.revision.startswith("sha256:") else Path(estimate.model).name
    )
    return replace(without_folders(point, known), revision=one_line(named), estimate=estimate)


def without_folders(point: Point, known: Sequence[Path] = ()) -> Point:
    """The point whose errors, its own and those of its measures, name no folder of this machine.

    Args:
        known: folders to leave out first, whose names may have spaces in them.
    """

    def bare(error: str | None) -> str | None:
        text = one_line(error or "")
        for folder in known:
            text = text.replace(f"{folder}/", "")
        return None if error is None else FOLDERS.sub("", text)

    measures = {name: replace(each, error=bare(each.error)) for name, each in point.measures.items()}
    return replace(point, error=bare(point.error), measures=measures)


def headline_of(curve: Curve, names: Sequence[str]) -> list[Point]:
    """The points with these names, and the last that has a number, in order of training.

    Raises:
        SettingsError: there is no such point, or it has no number.
    """
    by_name = {point.revision: point for point in curve.points}
    for name in names:
        if name not in by_name:
            raise SettingsError(f"`headline` {name} is not in the run{did_you_mean(name, list(by_name))}")
        if by_name[name].llc is None:
            raise SettingsError(f"`headline` {name} has no number in the run; choose another.")
    last = [point for point in curve.points if point.llc is not None][-1]
    return [point for point in curve.points if point.revision in {*names, last.revision}]


def write_files(folder: Path, content: Content, tell: Callable[[str], None] = lambda _: None) -> dict[str, bytes]:
    """Everything but the card, by its path in the repository, written below `folder`.

    Without the pictures if they cannot be drawn, whatever the reason: `tell` is given it, and no number is lost.
    """
    curve = content.curve
    write_atomically(folder / RESULTS, lines_of(curve).encode())
    write_atomically(folder / SETTINGS, settings_file(content).encode())
    files = {name: (folder / name).read_bytes() for name in (RESULTS, SETTINGS)}
    files |= _component_files(folder, content, tell)

    def draw(path: Path) -> None:
        from hf_llc.results.figures import plots

        plots.series(path, curve.points, name=content.name)

    pictures = [folder / name for name in (PICTURE, VECTORS)]
    if drawn(pictures, draw, tell, "the card says so") == pictures:
        return files | {name: (folder / name).read_bytes() for name in (PICTURE, VECTORS)}
    for path in pictures:
        path.unlink(missing_ok=True)
    return files


def _component_files(folder: Path, content: Content, tell: Callable[[str], None]) -> dict[str, bytes]:
    """Rows and heat map of the components; none without components."""
    curves = content.components
    if curves is None:
        return {}
    lines = [json.dumps(row, allow_nan=False) + "\n" for row in curves.to_rows()]
    write_atomically(folder / COMPONENT_ROWS, "".join(lines).encode())

    def draw(path: Path) -> None:
        from hf_llc.results.figures import components

        components.components(path, curves)

    pictures = drawn([folder / COMPONENT_PICTURE], draw, tell, "the card says so")
    names = [COMPONENT_ROWS, *([COMPONENT_PICTURE] if pictures else [])]
    return {name: (folder / name).read_bytes() for name in names}


def portable_components(curves: ComponentCurves) -> ComponentCurves:
    """The curves as they are published, see `portable`.

    Raises:
        UnusableError: one has no number.
    """
    folder = Path(curves.run_dir)
    public = {name: portable(curve, folder / name) for name, curve in curves.curves.items()}
    return ComponentCurves(model=next(iter(public.values())).model, curves=public, run_dir=".")


def card_maker(content: Content, kind: Kind, folder: Path, model: Path | None) -> Callable[[bytes | None], bytes]:
    """The card that is there, or None, to the one that shall be there.

    Args:
        folder: of the run; a card in it is that of a repository without one.
        model: its folder, if it is on this disk.
    """
    entries = own_entries(content, kind)
    section = render_section(content)
    own = folder / CARD

    def make(card: bytes | None) -> bytes:
        if card is not None and card.strip():
            return merge(card, entries, section)
        if kind == "dataset":
            return render_dataset_card(content).encode()
        if own.is_file():
            return merge(own.read_bytes(), entries, section)
        if model is not None and (training := training_facts(model)) is not None:
            return render_trainer_card(content, training).encode()
        return render_model_card(content).encode()

    return make
