"""`hf-llc estimate`: the local learning coefficient of one checkpoint."""

from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from hf_llc.errors import SettingsError
from hf_llc.results.profile import Profile
from hf_llc.settings.component import names_several
from hf_llc.settings.data import DataSettings
from hf_llc.settings.model import ModelSettings
from hf_llc.settings.sampler import SamplerSettings

from . import options as o
from .component_runs import end_with_missing_numbers, refuse_to_push, write_components
from .estimate_table import forecast_rows, rows, title
from .job import submitted
from .machines import machines_of, run_on_this_machine
from .output import Form, write_agent, write_json, write_line, write_pairs
from .profiling import Profiled, with_profile, write_profile
from .progress import ProgressBar
from .push_to_hub import asked_push, push_run, require_permission
from .requested_settings import checkpoint_of, settings_of

if TYPE_CHECKING:
    from hf_llc.execution.plan import Plan
    from hf_llc.measures.llc.forecast import Forecast
    from hf_llc.results.estimate import Estimate


@o.with_options(
    ModelSettings,
    DataSettings,
    SamplerSettings,
    o.MachineOptions,
    o.JobOptions,
    rare={"profile"},
)
def estimate(
    context: typer.Context,
    model: o.Model,
    publishing: o.PushOptions,
    reporting: o.TrackingOptions,
    written: o.FormOptions,
    settings: o.SettingsFile = None,
    set_: o.Assignments = None,
    num_processes: o.NumProcesses = None,
    device: o.Device = None,
    output_dir: o.OutputDir = None,
    profile: Profiled = False,
    dry_run: o.DryRun = False,
) -> None:
    """Estimate the local learning coefficient of one checkpoint.

    Downloads the model and the text (or takes local ones), samples around the checkpoint, and
    prints the number with its standard error and a verdict. The same command again resumes what
    was interrupted and recomputes nothing.

    Examples:

    \b
    hf-llc estimate EleutherAI/pythia-70m
    hf-llc estimate EleutherAI/pythia-70m@step512 --chains 4 --draws 200
    hf-llc estimate ./my-run/checkpoint-400 --dataset ./text.jsonl --text-column body
    hf-llc estimate EleutherAI/pythia-70m --params '*.layers.0.attention.*'
    hf-llc estimate EleutherAI/pythia-70m --component heads
    hf-llc estimate EleutherAI/pythia-70m --settings settings.yaml --draws 400
    hf-llc estimate hf://HuggingFaceTB/SmolLM2-135M --num-processes 8 --json
    hf-llc estimate ORG/NAME --num-machines 2 --num-processes 16 --machine-rank 0 --main-process-ip A
    hf-llc estimate me/my-model --push-to-hub
    """
    form, times = written.form, Profile() if profile else None
    machines = machines_of(context)
    asked_model = checkpoint_of(context)
    asked_data, asked_sampler = settings_of(context, settings, set_)
    push = asked_push(publishing)
    if submitted(context, push, form, lambda: operations_of(asked_model, asked_data, asked_sampler)):
        return
    if dry_run and names_several(asked_sampler.component):
        from .component_forecasts import forecast_estimates

        return forecast_estimates(asked_model, asked_data, asked_sampler, device, form)
    if dry_run:
        from hf_llc.measures.llc.forecast import forecast

        with ProgressBar(quiet=form is Form.QUIET) as observer:
            _write_forecast(forecast(asked_model, asked_data, asked_sampler, device=device, observer=observer), form)
        return
    rounds_of_chains = asked_sampler.target_stderr is not None and not asked_sampler.by_draws
    if rounds_of_chains and machines.count > 1:
        raise SettingsError(
            "--target-stderr with chains works on one machine only: leave out --num-machines, or set "
            "--chains, or use --sampler importance."
        )
    if names_several(asked_sampler.component):
        refuse_to_push(publishing)
        if run_on_this_machine(machines, asked_sampler, device):
            return None
        from hf_llc.integrations.tracking import ComponentTracking

        with (
            ProgressBar(quiet=form is Form.QUIET, profile=times) as observer,
            ComponentTracking(reporting.report_to, reporting.trackio, observer.tell) as of_components,
        ):
            from hf_llc.scans.components import run_component_estimates

            curves = run_component_estimates(
                asked_model,
                asked_data,
                asked_sampler,
                output_dir=output_dir,
                device=device,
                processes=num_processes,
                tracking=of_components,
                observer=observer,
            )
            if curves is None:
                return None  # a rank of a launch that is not the one to print
            write_components(curves, form, times)
            observer.tell(f"Numbers and pictures are in {curves.run_dir}; see them again with hf-llc show.")
            write_profile(times)
        return end_with_missing_numbers(curves)
    if run_on_this_machine(machines, asked_sampler, device):
        return
    with times.part("loading") if times else nullcontext():
        from hf_llc.execution.planning import plan
        from hf_llc.integrations.tracking import Tracking
        from hf_llc.measures.run import execute
        from hf_llc.results.curve import Curve

    with (
        ProgressBar(quiet=form is Form.QUIET, profile=times) as observer,
        Tracking(reporting.report_to, reporting.trackio, observer.tell) as tracking,
    ):

        def make_plan(sampler: SamplerSettings, folder: Path | None) -> "Plan":
            require_permission(model, push, observer)
            return plan(asked_model, asked_data, sampler, output_dir=folder, device=device, observer=observer)

        result = execute(
            lambda: make_plan(asked_sampler, output_dir),
            processes=num_processes,
            device=device,
            observer=observer,
            devices_per_chain=asked_sampler.devices_per_chain,
        )
        if result is not None:
            tracking.begin(Path(result.run_dir), {"model": result.model, **result.settings.to_dict()})
            tracking.log(Curve.of_estimate(result).points[0])
            _write(result, form, times)
            push_run(result.run_dir, push, observer)
            write_profile(times)


def operations_of(model: ModelSettings, data: DataSettings, sampler: SamplerSettings) -> float:
    """Floating-point operations of an estimate."""
    from hf_llc.measures.llc.forecast import forecast, forecast_components

    if names_several(sampler.component):
        return forecast_components(model, data, sampler).total.operations
    return forecast(model, data, sampler).operations


def _write_forecast(expected: "Forecast", form: Form) -> None:
    if form is Form.JSON:
        write_json(expected.to_dict())
    elif form is Form.AGENT:
        write_agent(expected.to_dict())
    elif form is Form.QUIET:
        write_line(f"{expected.seconds:.0f}")
    else:
        write_pairs(
            f"{expected.model} ({expected.sha.removeprefix('sha256:')[:12]}): nothing was run", forecast_rows(expected)
        )


def _write(result: "Estimate", form: Form, profile: Profile | None) -> None:
    from hf_llc.measures.llc.verdict import require_number

    if form is Form.JSON:
        write_json(with_profile(result.to_dict(), profile))
    elif form is Form.AGENT:
        write_agent(with_profile(result.to_dict(), profile))
    elif form is Form.QUIET and result.llc is not None:
        write_line(f"{result.llc:.6g}")
    elif form is Form.HUMAN:
        write_pairs(title(result), rows(result))
    require_number(result)
