"""`hf-llc estimate`: the local learning coefficient of one checkpoint."""

from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from hf_llc.errors import SettingsError
from hf_llc.results.profile import Profile

from . import options as o
from . import several
from .asked import settings_of
from .job import HfJob, HfJobBucket, HfJobPackage, HfJobTimeout, submitted
from .output import Form, chosen, write_agent, write_json, write_line, write_pairs
from .profiling import Profiled, with_profile, write_profile
from .progress import ProgressBar
from .push import asked_push, push_run, require_permission
from .wording import forecast_rows, rows, title

if TYPE_CHECKING:
    from hf_llc.execution.plan import Plan
    from hf_llc.measures.llc.forecast import Forecast
    from hf_llc.results.estimate import Estimate
    from hf_llc.settings.requested import DataSettings, ModelSettings, SamplerSettings


def estimate(
    context: typer.Context,
    model: o.Model,
    revision: o.Revision = None,
    gguf_file: o.GgufFile = None,
    trust_remote_code: o.TrustRemoteCode = False,
    settings: o.SettingsFile = None,
    dataset: o.Dataset = o.DATA.dataset,
    dataset_config: o.DatasetConfig = o.DATA.config,
    split: o.Split = o.DATA.split,
    dataset_revision: o.DatasetRevision = o.DATA.revision,
    text_column: o.TextColumn = o.DATA.text_column,
    max_sequences: o.MaxSequences = o.DATA.max_sequences,
    context_length: o.ContextLength = o.DATA.context_length,
    sampler: o.Sampler = o.SAMPLER.sampler,
    n_beta: o.NBeta = o.SAMPLER.n_beta,
    gamma: o.Gamma = o.SAMPLER.gamma,
    lr: o.Lr = o.SAMPLER.lr,
    burn_in_lr: o.BurnInLr = None,
    momentum: o.Momentum = None,
    start: o.Start = o.SAMPLER.start,
    gradient: o.Gradient = o.SAMPLER.gradient,
    batches: o.Batches = o.SAMPLER.batches,
    baseline: o.Baseline = o.SAMPLER.baseline,
    chains: o.Chains = o.SAMPLER.chains,
    draws: o.Draws = o.SAMPLER.draws,
    burn_in: o.BurnIn = o.SAMPLER.burn_in,
    thin: o.Thin = o.SAMPLER.thin,
    target_stderr: o.TargetStderr = None,
    max_chains: o.MaxChains = o.SAMPLER.max_chains,
    budget_seconds: o.Budget = None,
    batch_size: o.BatchSize = o.SAMPLER.batch_size,
    seed: o.Seed = o.SAMPLER.seed,
    params: o.Params = None,
    checks: o.Checks = o.SAMPLER.checks,
    cross_check: o.CrossCheck = None,
    dtype: o.Dtype = o.SAMPLER.dtype,
    micro_batch_size: o.MicroBatchSize = o.SAMPLER.micro_batch_size,
    num_processes: o.NumProcesses = None,
    devices_per_chain: o.DevicesPerChain = o.SAMPLER.devices_per_chain,
    num_machines: several.NumMachines = None,
    machine_rank: several.MachineRank = None,
    main_process_ip: several.MainProcessIp = None,
    main_process_port: several.MainProcessPort = several.FIRST_PORT,
    device: o.Device = None,
    threads: o.Threads = o.SAMPLER.threads,
    output_dir: o.OutputDir = None,
    trackio: o.Trackio = None,
    report_to: o.ReportTo = None,
    push_to_hub: o.PushToHub = False,
    repo: o.Repo = None,
    dataset_repo: o.DatasetRepo = None,
    create_pr: o.CreatePr = False,
    private: o.Private = False,
    hf_job: HfJob = None,
    hf_job_timeout: HfJobTimeout = None,
    hf_job_bucket: HfJobBucket = None,
    hf_job_package: HfJobPackage = None,
    profile: Profiled = False,
    dry_run: o.DryRun = False,
    format: o.Format = "auto",
    as_json: o.Json = False,
    quiet: o.Quiet = False,
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
    hf-llc estimate EleutherAI/pythia-70m --settings settings.yaml --draws 400
    hf-llc estimate hf://HuggingFaceTB/SmolLM2-135M --num-processes 8 --json
    hf-llc estimate ORG/NAME --num-machines 2 --num-processes 16 --machine-rank 0 --main-process-ip A
    hf-llc estimate me/my-model --push-to-hub
    """
    from hf_llc.settings.requested import ModelSettings

    form, times = chosen(format, as_json, quiet), Profile() if profile else None
    machines = several.machines_of(context)
    asked_model = ModelSettings(
        model=model, revision=revision, gguf_file=gguf_file, trust_remote_code=trust_remote_code
    )
    asked_data, asked_sampler = settings_of(context, settings)
    push = asked_push(push_to_hub, repo, dataset_repo, create_pr, private)
    if submitted(context, push, form, lambda: operations_of(asked_model, asked_data, asked_sampler)):
        return
    if dry_run:
        from hf_llc.measures.llc.forecast import forecast

        with ProgressBar(quiet=form is Form.QUIET) as observer:
            _write_forecast(forecast(asked_model, asked_data, asked_sampler, device=device, observer=observer), form)
        return
    rounds_of_chains = target_stderr is not None and not asked_sampler.by_draws
    if rounds_of_chains and machines.count > 1:
        raise SettingsError(
            "--target-stderr of chains works on one machine; leave out --num-machines, or give more --chains, or "
            "--sampler importance."
        )
    if several.started(machines, asked_sampler, device):
        return
    with times.part("loading") if times else nullcontext():
        from hf_llc.execution.planning import plan
        from hf_llc.integrations.tracking import Tracking
        from hf_llc.measures.run import execute
        from hf_llc.results.curve import Curve

    with (
        ProgressBar(quiet=form is Form.QUIET, profile=times) as observer,
        Tracking(report_to or [], trackio, observer.tell) as tracking,
    ):

        def make_plan(sampler: "SamplerSettings", folder: Path | None) -> "Plan":
            require_permission(model, push, observer)
            return plan(asked_model, asked_data, sampler, output_dir=folder, device=device, observer=observer)

        found = execute(
            lambda: make_plan(asked_sampler, output_dir),
            processes=num_processes,
            device=device,
            observer=observer,
            devices_per_chain=asked_sampler.devices_per_chain,
        )
        if found is not None:
            tracking.begin(Path(found.run_dir), {"model": found.model, **found.settings.to_dict()})
            tracking.log(Curve.of_estimate(found).points[0])
            _write(found, form, times)
            push_run(found.run_dir, push, observer)
            write_profile(times)


def operations_of(model: "ModelSettings", data: "DataSettings", sampler: "SamplerSettings") -> float:
    """Floating-point operations of an estimate."""
    from hf_llc.measures.llc.forecast import forecast

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


def _write(found: "Estimate", form: Form, profile: Profile | None) -> None:
    from hf_llc.measures.llc.verdict import require_number

    if form is Form.JSON:
        write_json(with_profile(found.to_dict(), profile))
    elif form is Form.AGENT:
        write_agent(with_profile(found.to_dict(), profile))
    elif form is Form.QUIET and found.llc is not None:
        write_line(f"{found.llc:.6g}")
    elif form is Form.HUMAN:
        write_pairs(title(found), rows(found))
    require_number(found)
