"""`hf-llc calibrate`: settings for a wanted standard error, and whether λ̂ has a plateau."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hf_llc.results.progress import duration
from hf_llc.settings.calibration import CalibrationSettings
from hf_llc.settings.data import DataSettings
from hf_llc.settings.execution import ExecutionSettings
from hf_llc.settings.model import ModelSettings
from hf_llc.settings.option import Option
from hf_llc.settings.posterior import PosteriorSettings

from . import options as o
from .estimate_table import with_error
from .machines import machines_of, run_on_this_machine
from .output import Form, write_agent, write_json, write_line, write_pairs, write_table
from .progress import ProgressBar
from .requested_settings import checkpoint_of, settings_of

if TYPE_CHECKING:
    from hf_llc.results.calibration import Calibration, SweepPoint

CalibrationDir = Annotated[
    Path | None,
    typer.Option(
        "--output-dir",
        parser=o.path_of,
        metavar="<path>",
        help="Folder of pilot chains, settings.yaml and sweep.png; an existing one is resumed. (default: "
        "hf-llc-runs/<model>/<sha>/calibration-<key>)",
        rich_help_panel="Output",
    ),
]


@dataclass(frozen=True, kw_only=True)
class QuietPathOptions(o.FormOptions):
    """How the result is written; quiet is the path of the settings file."""

    quiet: Annotated[
        bool,
        Option(
            help="Short for --format quiet: the settings file's path alone.",
            panel="Output",
            flag="-q/--quiet",
            common=True,
        ),
    ] = False


HEADERS = ("γ/nβ", "γ", "LLC ± stderr", "d log λ̂ / d log γ", "quadratic part", "ΔL", "")


@o.with_options(
    ModelSettings,
    DataSettings,
    PosteriorSettings,
    ExecutionSettings,
    o.MachineOptions,
    without={"draws", "burn_in", "burn_in_lr", "thin", "checks"},
)
def calibrate(
    context: typer.Context,
    model: o.Model,
    wanted: CalibrationSettings,
    written: QuietPathOptions,
    settings: o.SettingsFile = None,
    set_: o.Assignments = None,
    num_processes: o.NumProcesses = None,
    device: o.Device = None,
    output_dir: CalibrationDir = None,
) -> None:
    """Find settings for a wanted standard error, and whether the LLC has a plateau.

    Runs short pilot chains over up to four decades of the resolution γ/nβ, as far as they stay
    local, and over the step size, looks for a plateau in both, and writes a settings file for
    estimate and scan, each number with where it came from, and a picture. That there is no
    plateau is an answer too: the file then fixes one resolution at which checkpoints can be
    compared. For a series, calibrate one of its checkpoints, the last one say.

    Examples:

    \b
    hf-llc calibrate EleutherAI/pythia-70m
    hf-llc calibrate ./my-run/checkpoint-400 --dataset ./text.jsonl --target-stderr 0.01
    hf-llc calibrate EleutherAI/pythia-70m --output-dir calibration
    hf-llc scan EleutherAI/pythia-70m --settings calibration/settings.yaml
    """
    started = time.monotonic()
    form = written.form
    machines = machines_of(context)
    asked_model = checkpoint_of(context)
    asked_data, asked_sampler = settings_of(context, settings, set_)
    # What is wanted of the calibration is no part of how chains are sampled.
    asked_sampler = replace(asked_sampler, target_stderr=None)
    if run_on_this_machine(machines, asked_sampler, device):
        return
    from hf_llc.measures.llc.calibration.calibrate import collect, plan
    from hf_llc.measures.run import run_pilots

    with ProgressBar(quiet=form is Form.QUIET) as observer:
        ended = run_pilots(
            lambda: plan(
                asked_model,
                asked_data,
                asked_sampler,
                wanted,
                output_dir=output_dir,
                device=device,
                observer=observer,
            ),
            processes=num_processes,
            device=device,
            observer=observer,
            devices_per_chain=asked_sampler.devices_per_chain,
        )
        if ended is None:
            return  # a rank of a launch that is not the one to print
        calibration = collect(*ended, asked_data, wanted, observer, started)
        _write(calibration, form)
        observer.tell(f"Settings are in {calibration.settings_file}: use them with hf-llc estimate or scan --settings.")


def _write(calibration: "Calibration", form: Form) -> None:
    if form is Form.JSON:
        write_json(calibration.to_dict())
    elif form is Form.AGENT:
        write_agent(calibration.to_dict())
    elif form is Form.QUIET:
        write_line(calibration.settings_file)
    else:
        revision = f" @ {calibration.revision}" if calibration.revision else ""
        title = f"λ̂ over the resolution, {calibration.model}{revision}"
        write_table(title, HEADERS, [_row(point) for point in calibration.sweep])
        write_line()
        write_pairs("What follows", _pairs(calibration))


def _row(point: "SweepPoint") -> Sequence[str]:
    number = "" if point.llc is None or point.stderr is None else with_error(point.llc, point.stderr)
    slope = (
        "" if point.slope is None or point.slope_stderr is None else f"{point.slope:+.3f} ± {point.slope_stderr:.3f}"
    )
    return (
        f"{point.resolution:.3g}",
        f"{point.gamma:.3g}",
        number,
        slope,
        "" if point.quadratic is None else f"{point.quadratic:.4g}",
        "" if point.delta_loss is None else f"{point.delta_loss:.2g}",
        point.excluded or "",
    )


def _pairs(calibration: "Calibration") -> list[tuple[str, str]]:
    s, pilot = calibration.settings, calibration.pilot
    return [
        ("plateau", calibration.plateau_reason),
        ("step size", calibration.steps_reason),
        (
            "pilot chains",
            f"{with_error(pilot.llc, pilot.stderr)}   {pilot.verdict}: {pilot.verdict_reason}",
        ),
        ("precision", calibration.precision),
        (
            "settings",
            f"n_beta {s['n_beta']:.4g}, gamma {s['gamma']:.4g}, lr {s['lr']:.3g}, {s['sampler']}, burn-in "
            f"{s['burn_in']}, {s['chains']} chains × {s['draws']} draws, thin {s['thin']}, batch {s['batch_size']}",
        ),
        (
            "cost",
            f"{calibration.pilot_gradients:,} gradients of pilot chains; "
            f"this call took {duration(calibration.seconds)}",
        ),
        ("written", f"{calibration.settings_file}; beside it sweep.png and sweep.svg"),
    ]
