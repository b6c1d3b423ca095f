"""`estimate` and `scan` of several components: one number, or one curve, for each."""

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import typer

from hf_llc.errors import SettingsError, counted
from hf_llc.results.component_curves import ComponentCurves
from hf_llc.results.curve import Curve
from hf_llc.results.estimate import Verdict
from hf_llc.results.profile import Profile

from .curve_table import measure_lines, reasons, sparkline
from .estimate_table import number
from .output import Form, write_agent, write_json, write_line, write_table
from .profiling import with_profile

if TYPE_CHECKING:
    from .options import PushOptions

HEADERS = ("component", "weights", "LLC ± standard error", "converged")


def refuse_to_push(publishing: "PushOptions") -> None:
    """Raise SettingsError if several components are to be published at the end."""
    if publishing.push_to_hub:
        raise SettingsError(
            "--push-to-hub publishes one curve, and a list of components has several: leave it out, then run "
            "hf-llc publish RUN --components FOLDER, which puts them beside RUN, a run of the whole model."
        )


def write_components(curves: ComponentCurves, form: Form, profile: Profile | None = None) -> None:
    """The curves on stdout."""
    if form is Form.JSON:
        write_json(with_profile(curves.to_dict(), profile))
    elif form is Form.AGENT:
        about = {"model": curves.model, "run_dir": curves.run_dir}
        measured = {} if curves.measured is None else {"measured": curves.measured.to_rows()[-1]}
        write_agent({**about, **{name: _short(curve) for name, curve in curves.curves.items()}, **measured})
    elif form is Form.QUIET:
        for name, curve in curves.curves.items():
            for point in curve:
                write_line(f"{name} {'' if point.llc is None else repr(point.llc)}")
    else:
        _write_table(curves)


def end_with_missing_numbers(curves: ComponentCurves) -> None:
    """Exit code 1 if a component has no number at a checkpoint."""
    if not curves.is_complete:
        raise typer.Exit(1)


def _write_table(curves: ComponentCurves) -> None:
    most = max((len(curve) for curve in curves.curves.values()), default=0)
    last = next((curve.points[-1].revision for curve in curves.curves.values() if curve.points), "")
    over = f", over {most} checkpoints; LLC at {last}" if most > 1 else ""
    headers = (*HEADERS, "over training, lowest … highest") if most > 1 else HEADERS
    rows = [_row(name, curve, most > 1) for name, curve in curves.curves.items()]
    write_table(f"LLC of {counted(len(curves), 'component')} of {curves.model}, each moved alone{over}", headers, rows)
    named = [
        replace(point, revision=f"{name} at {point.revision}" if most > 1 else name)
        for name, curve in curves.curves.items()
        for point in curve
    ]
    for sentence in reasons(named):
        write_line(sentence)
    if curves.measured is not None:
        write_line(f"Of the whole model, {counted(len(curves.measured), 'checkpoint')}:")
        for line in measure_lines(curves.measured):
            write_line(line)


def _row(name: str, curve: Curve, over_training: bool) -> tuple[str, ...]:
    points = list(curve)
    last = points[-1].estimate if points else None
    converged = sum(point.verdict is Verdict.CONVERGED for point in points)
    cells = (
        name,
        "" if last is None else f"{last.diagnostics.dimension:,}",
        "no number" if last is None else number(last),
        f"{converged} of {len(points)}" if over_training else "" if last is None else str(last.verdict),
    )
    line = sparkline([point.llc for point in points if point.duplicate_of is None]).removeprefix("λ̂ ")
    return (*cells, line) if over_training else cells


def _short(curve: Curve) -> Mapping[str, Any]:
    points = list(curve)
    last = points[-1] if points else None
    return {} if last is None else {"llc": last.llc, "stderr": last.stderr, "verdict": last.verdict}
