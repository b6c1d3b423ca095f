"""`hf-llc fluctuation`: singular fluctuation and WAIC, from a run that recorded losses."""

from pathlib import Path
from typing import TYPE_CHECKING

from . import options as o
from .estimate_table import with_error
from .output import Form, chosen, write_agent, write_json, write_line, write_pairs
from .progress import ProgressBar
from .recorded import RecordedRun, Recording

if TYPE_CHECKING:
    from hf_llc.results.fluctuation import Fluctuation, LossGain


def fluctuation(
    run: RecordedRun,
    recording: Recording = None,
    format: o.Format = "auto",
    as_json: o.Json = False,
    quiet: o.Quiet = False,
) -> None:
    """Print singular fluctuation, WAIC and the loss gain of a run that recorded losses of its data.

    They come from the same draws as the LLC (estimate --keep losses), with errors.

    Examples:

    \b
    hf-llc estimate ORG/NAME --max-sequences 256 --keep losses --output-dir run
    hf-llc fluctuation run
    """
    form = chosen(format, as_json, quiet)
    with ProgressBar(quiet=form is Form.QUIET):
        from hf_llc.measures.fluctuation.of_run import fluctuation as of_run
        from hf_llc.measures.fluctuation.of_run import loss_gain

        result, gain = of_run(Path(run), recording), loss_gain(Path(run), recording)
    values = {**result.to_dict(), "loss_gain": gain.value, "loss_gain_stderr": gain.stderr}
    if form is Form.JSON:
        write_json(values)
    elif form is Form.AGENT:
        write_agent(values)
    elif form is Form.QUIET:
        write_line(f"{result.singular_fluctuation:.6g}")
    else:
        write_pairs("Losses of items under the posterior", _rows(result, gain))


def _rows(result: "Fluctuation", gain: "LossGain") -> list[tuple[str, str]]:
    warning, unit = result.warning or gain.warning, result.unit
    tail = "" if result.pareto_k is None else f", Pareto k of their weights {result.pareto_k:.2f}"
    return [
        (
            "singular fluctuation",
            f"ν(β) = {with_error(result.singular_fluctuation, result.singular_fluctuation_stderr)} "
            f"at β = nβ/n = {result.beta:.3g}",
        ),
        (
            "functional variance",
            f"{with_error(result.functional_variance, result.functional_variance_stderr)}, of {result.items} items",
        ),
        ("WAIC", f"{with_error(result.waic, result.waic_stderr)} {unit}"),
        ("Bayes loss", f"{with_error(result.bayes_loss, result.bayes_loss_stderr)} {unit}"),
        ("Gibbs loss", f"{with_error(result.gibbs_loss, result.gibbs_loss_stderr)} {unit}"),
        ("loss at w*", f"{result.loss:.4f} {unit}"),
        (
            "loss gain",
            f"{with_error(gain.value, gain.stderr)}: nβ (E[L] − L(w*)) of these items; over all n items it is λ̂",
        ),
        ("effective draws", f"{result.effective:.0f}{tail}"),
        *([] if warning is None else [("warning", f"not to be relied on, nor are the errors: {warning}")]),
    ]
