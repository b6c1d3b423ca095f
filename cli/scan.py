"""`hf-llc scan`: the local learning coefficient over training."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hf_llc.errors import SettingsError
from hf_llc.measures import LLC, MEASURES, asked_measures
from hf_llc.results.profile import Profile
from hf_llc.settings.component import names_several
from hf_llc.settings.data import DataSettings
from hf_llc.settings.model import ModelSettings
from hf_llc.settings.sampler import SamplerSettings

from . import options as o
from .component_runs import end_with_missing_numbers, refuse_to_push, write_components
from .job import submitted
from .machines import machines_of, run_on_this_machine
from .output import Form
from .profiling import Profiled, write_profile
from .progress import ProgressBar
from .push_to_hub import asked_push, push_run, require_permission
from .requested_settings import settings_of

if TYPE_CHECKING:
    from hf_llc.results.curve import Point

ScanDir = Annotated[
    Path | None,
    typer.Option(
        "--output-dir",
        parser=o.path_of,
        metavar="<path>",
        help="Folder of the scan; an existing one is resumed. (default: hf-llc-runs/<model>/scan-<key>)",
        rich_help_panel="Output",
    ),
]
Shard = Annotated[
    str | None,
    typer.Option(
        "--shard",
        metavar="I/N",
        help="Estimate part I of N (1/N to N/N), one job of an array each; hf-llc merge joins their folders.",
        rich_help_panel="Machine",
    ),
]
With = Annotated[
    list[str] | None,
    typer.Option(
        "--with",
        metavar="NAMES",
        help="Measures beside the LLC, separated by commas: "
        f"{', '.join(name for name in MEASURES if name != LLC)}, or all. "
        "Their columns are null where they do not apply.",
        rich_help_panel="Measures",
    ),
]
Without = Annotated[
    list[str] | None,
    typer.Option(
        "--without",
        metavar="NAMES",
        help="Measures to leave out: llc for those of --with alone, or some of --with all.",
        rich_help_panel="Measures",
    ),
]
DryRun = Annotated[
    bool,
    typer.Option(
        "--dry-run",
        help="List the checkpoints as hf-llc revisions does, and what each of several components takes; then stop.",
        rich_help_panel="Output",
    ),
]


@o.with_options(
    ModelSettings,
    DataSettings,
    SamplerSettings,
    o.MachineOptions,
    o.JobOptions,
    without={"revision", "subfolder", "gguf_file"},
    rare={
        "without",
        "yes",
        "every",
        "shard",
        "tokens_per_step",
        "step_map",
        "allow_duplicates",
        "x",
        "x_tokens",
        "profile",
    },
)
def scan(
    context: typer.Context,
    model: o.Series,
    publishing: o.PushOptions,
    reporting: o.TrackingOptions,
    written: o.FormOptions,
    revisions: o.Revisions = None,
    every: o.Every = None,
    with_: With = None,
    without: Without = None,
    tokens_per_step: o.TokensPerStep = None,
    step_map: o.StepMap = None,
    allow_duplicates: o.AllowDuplicates = False,
    trust_remote_code: bool = False,
    base_model: str | None = None,
    settings: o.SettingsFile = None,
    set_: o.Assignments = None,
    num_processes: o.NumProcesses = None,
    device: o.Device = None,
    max_disk: o.MaxDisk = None,
    shard: Shard = None,
    output_dir: ScanDir = None,
    x: o.X = "auto",
    x_tokens: o.XTokens = False,
    profile: Profiled = False,
    dry_run: DryRun = False,
) -> None:
    """Follow the local learning coefficient over the checkpoints of a series.

    One text, one γ, nβ and ε for the whole curve, the same batches and noise at each checkpoint. Equal weights are
    estimated once; a checkpoint that cannot be used is a row with its reason, and the scan goes on and ends with 1.
    The same command again resumes; with more revisions it computes only those.

    Examples:

    \b
    hf-llc scan EleutherAI/pythia-70m --revisions log:20 --num-processes 8
    hf-llc scan allenai/OLMo-2-0425-1B --revisions 're:stage1-step.*' --every 50000
    hf-llc scan ./my-trainer-run --dataset ./corpus.jsonl --json > curve.json
    hf-llc scan TinyLlama --revisions 'repos:TinyLlama-1.1B-intermediate-step-*' --max-disk 20GB
    hf-llc scan EleutherAI/pythia-70m --revisions log:20 --component heads
    hf-llc scan EleutherAI/pythia-70m --revisions log:20 --with rank,activations,induction
    hf-llc scan EleutherAI/pythia-70m --revisions log:20 --shard $SLURM_ARRAY_TASK_ID/8
    """
    from hf_llc.checkpoints.selection import Selection
    from hf_llc.checkpoints.step_names import read_steps
    from hf_llc.results.figures.axis_options import View
    from hf_llc.scans.shard import Shard as Part

    form, times = written.form, Profile() if profile else None
    measures = asked_measures(with_ or [], without or [])
    machines = machines_of(context)
    selection, part, view = Selection.parse(revisions or [], every), Part.parse(shard), View(scale=x, tokens=x_tokens)
    asked_data, asked_sampler = settings_of(context, settings, set_)
    push = asked_push(publishing)
    if push is not None and not part.is_whole:
        raise SettingsError(
            "--push-to-hub needs a whole scan, not a --shard: join the parts with hf-llc merge, then run "
            "hf-llc publish."
        )
    if submitted(context, push, form):
        return
    if dry_run and not names_several(asked_sampler.component):
        from .revisions import write_listing

        return write_listing(model, selection, tokens_per_step, step_map, form, part)
    if not dry_run and run_on_this_machine(machines, asked_sampler, device):
        return
    from hf_llc.execution.machine import launched
    from hf_llc.integrations.tracking import Tracking
    from hf_llc.scans.request import Request
    from hf_llc.scans.resume import find_finished

    from .curve_table import end_with_failures, row, write_curve

    request = Request(
        model=model,
        data=asked_data,
        sampler=asked_sampler,
        selection=selection,
        tokens_per_step=tokens_per_step,
        steps=read_steps(step_map) if step_map else None,
        trust_remote_code=trust_remote_code,
        base_model=base_model,
        allow_duplicates=allow_duplicates,
        max_disk=max_disk,
        output_dir=output_dir,
        device=device,
        shard=part,
        measures=measures,
    )
    if dry_run:
        from .component_forecasts import forecast_scans

        return forecast_scans(request, form)
    if names_several(asked_sampler.component):
        refuse_to_push(publishing)
        from hf_llc.integrations.tracking import ComponentTracking

        with (
            ProgressBar(quiet=form is Form.QUIET, profile=times) as observer,
            ComponentTracking(reporting.report_to, reporting.trackio, observer.tell) as of_components,
        ):
            from hf_llc.scans.components import run_component_scans

            curves = run_component_scans(
                request,
                processes=num_processes,
                view=view,
                tracking=of_components,
                observer=observer,
                on_point=lambda name, point: observer.tell("   ".join(filter(None, (name, *row(point, 1000))))),
            )
            if curves is None:
                return None  # a rank of a launch that is not the one to print
            write_components(curves, form, times)
            observer.tell(f"Numbers and pictures are in {curves.run_dir}; see them again with hf-llc show.")
            write_profile(times)
        return end_with_missing_numbers(curves)
    with (
        ProgressBar(quiet=form is Form.QUIET, profile=times) as observer,
        Tracking(reporting.report_to, reporting.trackio, observer.tell) as tracking,
    ):
        require_permission(model, push, observer)

        def tell(point: "Point") -> None:
            observer.tell("   ".join(filter(None, row(point, 1000))))

        curve = None if launched() else find_finished(request, observer, view)
        if curve is not None and tracking.has_all(Path(curve.run_dir), curve.points, part.part):
            for point in curve.points:
                tell(point)
        else:
            with observer.part("loading"):
                from hf_llc.scans.scan import run_scan

            curve = run_scan(
                request, processes=num_processes, view=view, tracking=tracking, observer=observer, on_point=tell
            )
        if curve is None:
            return  # a rank of a launch that is not the one to print
        write_curve(curve, form, times)
        if curve.points:
            observer.tell(f"Numbers and pictures are in {curve.run_dir}; see them again with hf-llc show.")
        push_run(curve.run_dir, push, observer)
        write_profile(times)
    end_with_failures(curve)
