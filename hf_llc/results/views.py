"""Results as people look at them in Python: a line, a small table in a notebook, ArviZ's type, pandas, figures."""

import base64
import html
import io
import math
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hf_llc.errors import NotFoundError, ResourceError, UnusableError, one_line
from hf_llc.results.estimate import ChainTrace, Estimate, Status
from hf_llc.settings.strict_json import DamagedError, parsed, unsealed

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from hf_llc.results.calibration import Calibration
    from hf_llc.results.curve import Curve

TRACES = "traces.json"
"""File of a run's folder: the payload holds the trace of every main chain, or of every group of independent draws."""

CALIBRATED = {"gamma": "γ", "lr": "ε", "chains": "chains", "draws": "draws"}
"""Settings that the line of a calibration shows, by their names in a settings file, and what it calls them."""


def with_error(value: float | None, error: float | None) -> str:
    """`value ± error`, the error to two digits and the value to as many places; `no number` where there is none."""
    if value is None or error is None or not math.isfinite(value):
        return "no number"
    if not error > 0:
        return f"{value:.6g} ± {error:g}"
    places = max(0, 1 - int(f"{error:e}".partition("e")[2]))
    return f"{value:.{places}f} ± {error:.{places}f}"


def estimate_line(estimate: Estimate) -> str:
    """`EleutherAI/pythia-70m@step512: λ̂ = 22.9 ± 0.14 (converged)`."""
    revision = f"@{estimate.revision}" if estimate.revision else ""
    number = with_error(estimate.llc, estimate.stderr)
    shown = f"λ̂ = {number}" if estimate.llc is not None else number
    return one_line(f"{estimate.model}{revision}: {shown} ({estimate.verdict})")


def estimate_html(estimate: Estimate) -> str:
    """A small table and the picture of the traces, for notebooks."""
    settings, diagnostics = estimate.settings, estimate.diagnostics
    effort = f"{settings.chains} chains × {settings.draws} draws"
    if settings.by_draws:
        effort = f"{diagnostics.ess or 0:.0f} pairs of independent draws"
    most = "up to " if estimate.dataset.loss_on else ""
    size = f"{settings.n} × {most}{settings.context_length} tokens"
    if estimate.dataset.task != "text-generation":
        size = str(settings.n)
    rows = {
        "λ̂": with_error(estimate.llc, estimate.stderr),
        "verdict": f"{estimate.verdict}: {estimate.verdict_reason}",
        "sampled by": f"{settings.sampler}, {effort}",
        "settings": f"nβ = {settings.n_beta:.4g}, γ = {settings.gamma:.4g}, n = {size}, seed {settings.seed}",
        "loss at w*": f"{estimate.init_loss:.4f} {estimate.dataset.unit}",
        "data": f"{estimate.dataset.id}, {estimate.dataset.split}",
    }
    revision = f" @ {estimate.revision}" if estimate.revision else ""
    return table(f"{estimate.model}{revision}", rows) + _traces_picture(estimate)


def curve_line(curve: "Curve") -> str:
    """`EleutherAI/pythia-70m: 12 checkpoints, λ̂ from −1.58 ± 0.08 (step4) to 22.8 ± 0.16 (step1000)`."""
    numbers = [point for point in curve.points if point.llc is not None]
    count = f"{len(curve.points)} checkpoint{'' if len(curve.points) == 1 else 's'}"
    if not numbers:
        return one_line(f"{curve.model}: {count}, no number")
    ends = [f"{with_error(point.llc, point.stderr)} ({point.revision})" for point in (numbers[0], numbers[-1])]
    span = f"λ̂ = {ends[0]}" if len(numbers) == 1 else f"λ̂ from {ends[0]} to {ends[1]}"
    return one_line(f"{curve.model}: {count}, {span}")


def curve_html(curve: "Curve") -> str:
    """A table of the checkpoints, for notebooks."""
    rows = [
        (
            point.revision,
            "" if point.step is None else point.step,
            with_error(point.llc, point.stderr),
            "" if point.loss is None else f"{point.loss:.4f}",
            point.verdict or point.error or "",
        )
        for point in curve.points
    ]
    return grid(curve.model, ("checkpoint", "step", "λ̂", "loss at w*", "verdict"), rows)


def calibration_line(calibration: "Calibration") -> str:
    """`EleutherAI/pythia-70m@step512: γ = 7800, ε = 3.2e-05, expected error 1.9 % of λ̂ (plateau: found)`."""
    revision = f"@{calibration.revision}" if calibration.revision else ""
    settings = calibration.settings
    chosen = [f"{symbol} = {settings[name]:.4g}" for name, symbol in CALIBRATED.items() if name in settings]
    return one_line(
        f"{calibration.model}{revision}: {', '.join([*chosen, _expected(calibration)])} (plateau: "
        f"{calibration.plateau})"
    )


def calibration_html(calibration: "Calibration") -> str:
    """A small table and the picture of the pilot chains, for notebooks."""
    revision = f" @ {calibration.revision}" if calibration.revision else ""
    rows = {
        "plateau": f"{calibration.plateau}: {calibration.plateau_reason}",
        "step size": calibration.steps_reason,
        "precision": calibration.precision,
        **{name: str(value) for name, value in calibration.settings.items() if name in calibration.reasons},
        "settings file": calibration.settings_file,
    }
    return table(f"{calibration.model}{revision}", rows) + picture(calibration_figure(calibration), "calibration")


def _expected(calibration: "Calibration") -> str:
    if calibration.expected_stderr is None:
        return "no error to expect"
    return f"expected error {100 * calibration.expected_stderr:.2g} % of λ̂"


def calibration_figure(calibration: "Calibration") -> "Figure":
    """The picture of the pilot chains."""
    from hf_llc.results.figures.calibration import sweep_figure
    from hf_llc.results.figures.safely import own_settings

    with own_settings():
        return sweep_figure(calibration)


def traces_of(estimate: Estimate) -> list[ChainTrace]:
    """The traces that the run's folder keeps.

    Raises:
        NotFoundError: the folder is not on this disk, or an older version wrote it. ResourceError: the file is damaged.
    """
    path = Path(estimate.run_dir) / TRACES
    try:
        stored = unsealed(parsed(path.read_bytes()))
        return [ChainTrace.from_dict(trace) for trace in stored["payload"]["traces"]]
    except FileNotFoundError as error:
        raise NotFoundError(f"There is no {path}; run the same estimate again to have it.") from error
    except (DamagedError, KeyError, TypeError, ValueError, OSError) as error:
        raise ResourceError(f"{path} is damaged; delete it and run the same estimate again.") from error


def arviz_traces(estimate: Estimate) -> Any:
    """The draws as ArviZ's own type, an `xarray.DataTree` with the group `posterior`: dimensions chain and draw.

    `llc` is nβ(L(w) − L(w*)), whose mean is `raw_llc`; `delta_loss` in nats per token; `distance` is ‖w − w*‖. Of
    independent draws a draw is an antithetic pair, dealt out to `chains` groups.

    Raises:
        UnusableError: ArviZ is not installed, or no chain stayed finite. HfLlcError: see `traces_of`.
    """
    try:
        import numpy
        from arviz_base import from_dict
    except ImportError as error:
        raise UnusableError("traces() needs ArviZ: pip install 'hf-llc[arviz]'.") from error
    settings = estimate.settings
    healthy = [trace for trace in traces_of(estimate) if trace.status is Status.HEALTHY]
    draws = [list(trace.draws(settings)) for trace in healthy]
    length = min(map(len, draws), default=0)
    if length == 0:
        raise UnusableError(f"No chain of {estimate_line(estimate)} has draws.")
    posterior = {
        "llc": [[settings.n_beta * draw for draw in chain[:length]] for chain in draws],
        "delta_loss": [chain[:length] for chain in draws],
        "distance": [[math.sqrt(square) for square in trace.squared_distances[:length]] for trace in healthy],
    }
    with warnings.catch_warnings():
        # It takes few draws of many chains for an array with its axes exchanged.
        warnings.simplefilter("ignore", UserWarning)
        return from_dict({"posterior": {name: numpy.asarray(values) for name, values in posterior.items()}})


def estimate_figure(estimate: Estimate) -> "Figure":
    """The picture of the chains or draws.

    Raises:
        HfLlcError: see `traces_of`.
    """
    from hf_llc.results.figures.plots import traces_figure
    from hf_llc.results.figures.safely import own_settings

    with own_settings():
        return traces_figure(traces_of(estimate), estimate)


def curve_figure(curve: "Curve", x: str, tokens: bool) -> "Figure":
    """The picture of the curve."""
    from hf_llc.results.figures.axis_options import View
    from hf_llc.results.figures.plots import series_figure
    from hf_llc.results.figures.safely import own_settings

    with own_settings():
        return series_figure(curve.points, name=Path(curve.model).name, view=View(scale=x, tokens=tokens))


def frame_of(rows: Sequence[Mapping[str, Any]]) -> Any:
    """The rows as a `pandas.DataFrame`, one checkpoint each, columns as in `results.jsonl`."""
    import pandas

    return pandas.DataFrame(list(rows))


def table(title: str, rows: Mapping[str, str]) -> str:
    """A title and a line a name, in HTML."""
    body = "".join(
        f"<tr><th style='text-align:left'>{html.escape(name)}</th><td style='text-align:left'>"
        f"{html.escape(one_line(value))}</td></tr>"
        for name, value in rows.items()
    )
    return f"<b>{html.escape(one_line(title))}</b><table>{body}</table>"


def grid(title: str, head: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """A title and a table with named columns, in HTML."""
    cells = [("th", head), *(("td", row) for row in rows)]
    body = "".join(
        "<tr>" + "".join(f"<{kind}>{html.escape(one_line(str(cell)))}</{kind}>" for cell in row) + "</tr>"
        for kind, row in cells
    )
    return f"<b>{html.escape(one_line(title))}</b><table>{body}</table>"


def picture(figure: "Figure", name: str) -> str:
    """A figure as an image in HTML."""
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=80)
    return f"<img alt='{name}' src='data:image/png;base64,{base64.b64encode(content.getvalue()).decode()}'/>"


def _traces_picture(estimate: Estimate) -> str:
    """The picture of the traces as an image in HTML; "" where the run's folder does not have them."""
    try:
        return picture(estimate_figure(estimate), "traces")
    except (NotFoundError, ResourceError):
        return ""
