"""Settings for a wanted standard error: pilot chains over γ/nβ and ε, a plateau if there is one, a settings file.

plan     as for an estimate; its draws are those of a pilot chain
run      the pilot chains; each part durable, shared by any number of processes
collect  what they say: a Calibration, its settings file and its pictures
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from hf_llc.errors import SettingsError
from hf_llc.execution import planning, work_queue
from hf_llc.execution.distributed import world as fleets
from hf_llc.execution.distributed.world import ProcessWorld
from hf_llc.execution.loaded_model import LoadedModel, computing, drop_gradient
from hf_llc.execution.plan import Plan
from hf_llc.execution.store import RunStore
from hf_llc.measures.llc import estimation
from hf_llc.measures.llc.calibration import explain, gamma_plateau, step_plateau, sweeps
from hf_llc.measures.llc.calibration.gamma_plateau import PlateauResult
from hf_llc.measures.llc.calibration.pilot_chains import LONGEST_BURN_IN, Site
from hf_llc.measures.llc.calibration.predict import ErrorForecast, forecast_error
from hf_llc.measures.llc.resolution import ResolvedRun
from hf_llc.measures.llc.summarise import checkpoint_of, dataset_of
from hf_llc.results.calibration import Calibration, StepPoint, SweepPoint
from hf_llc.results.figures.safely import drawn
from hf_llc.results.progress import Observer, duration
from hf_llc.results.provenance import versions
from hf_llc.sampling.tuning.step_size import check_lr
from hf_llc.settings.bounds import checked_arguments
from hf_llc.settings.calibration import CalibrationSettings
from hf_llc.settings.component import names_several
from hf_llc.settings.data import DataSettings
from hf_llc.settings.file import write_settings
from hf_llc.settings.model import ModelSettings
from hf_llc.settings.overrides import requested
from hf_llc.settings.resolved import ResolvedSettings
from hf_llc.settings.sampler import SamplerSettings
from hf_llc.tasks.in_memory import data_settings, model_settings

SETTINGS_FILE, RESULT, COMPLETE, PICTURES = "settings.yaml", "calibration", "complete", ("sweep.png", "sweep.svg")
ATTEMPTS = 3
"""Times that the last pilot chains are run, at twice the length each time, until they have settled."""


@dataclass(frozen=True)
class Findings:
    """What the pilot chains of a plan showed.

    Attributes:
        at: the settings chosen, those of the last pilot chains. gradients: what all of them took.
    """

    points: Sequence[SweepPoint]
    answer: PlateauResult
    steps: Sequence[StepPoint]
    steps_reason: str
    at: ResolvedRun
    outlook: ErrorForecast
    gradients: int


def plan(
    model: ModelSettings,
    data: DataSettings,
    sampler: SamplerSettings,
    wanted: CalibrationSettings,
    *,
    output_dir: Path | None = None,
    device: str | None = None,
    observer: Observer | None = None,
) -> Plan:
    """The plan of a calibration; draws, burn-in and thinning of the sampler settings are to be determined.

    Args:
        output_dir: None means `hf-llc-runs/<model>/<sha>/calibration-<key>` under the working directory.

    Raises:
        SettingsError: γ or nβ is 0, so that there is no resolution γ/nβ, or there are no chains. HfLlcError: see
            `planning.plan`.
    """
    if sampler.by_draws:
        raise SettingsError(
            f"hf-llc calibrate chooses settings of chains, and `sampler={sampler.sampler}` runs none: it "
            "has no step size and stops at `target_stderr` by itself. Use hf-llc estimate, or another "
            "`sampler`."
        )
    if names_several(sampler.component):
        raise SettingsError(
            f"hf-llc calibrate takes one component, got {sampler.component}: name one, or leave `component` out to "
            "calibrate the whole model, whose γ and nβ serve all of its components."
        )
    if sampler.gamma == 0 or sampler.n_beta == 0:
        raise SettingsError("hf-llc calibrate needs `gamma` and `n_beta` above 0; leave them out to have them chosen.")
    asked = replace(sampler, draws=wanted.pilot_draws, burn_in=None, thin=1, checks=True, cross_check=None)
    pilot_plan = planning.plan(model, data, asked, output_dir=output_dir, device=device, observer=observer)
    return (
        pilot_plan
        if output_dir
        else replace(pilot_plan, run_dir=pilot_plan.run_dir.with_name(f"calibration-{pilot_plan.key}"))
    )


def is_finished(plan: Plan) -> bool:
    """True if every pilot chain is there."""
    return RunStore(plan.run_dir, lambda message: None).path(COMPLETE).exists()


def run(plan: Plan, fleet: ProcessWorld, observer: Observer, bench: LoadedModel | None = None) -> Findings:
    """Makes every pilot chain that is not on disk yet, with whoever else works on the folder, and reads them all.

    Args:
        bench: None loads the plan's checkpoint when the first chain is made.

    Raises:
        SettingsError: the step size given is unstable at the chosen γ, or see `resolution.resolve_settings`.
        DivergedError: the chains at the chosen settings left no number.
    """
    store = fleet.store(plan.run_dir, observer.tell)
    store.open({**plan.inputs(), "pilots": [list(sweeps.RESOLUTIONS), list(sweeps.STEPS)]})
    bench = bench or LoadedModel(plan, fleet.device, group=fleet.group, in_proportion=False)
    with computing(plan.threads):
        anchors = work_queue.run_to_end(estimation.anchor_losses(plan, store, bench, fleet, observer))
        site = Site(plan, store, bench, fleet, observer, anchors)
        first = sweeps.first_resolutions(site)
        nodes, seconds = sweeps.quadratic_part(site)
        if fleet.is_main and not is_finished(plan):
            observer.tell(forecast(site, first, seconds))
        swept = sweeps.sweep(site, first, gamma_plateau.is_local)
        points = gamma_plateau.points_of(swept, nodes)
        middle = len(swept) - len(first) + 1
        answer = gamma_plateau.find_gamma_plateau(points, middle, free=plan.sampler.gamma is None)
        at = swept[answer.chosen].resolution
        check_lr(plan.sampler.lr or at.settings.lr, at.settings.n_beta, at.curvature, at.settings.gamma)
        stepped = sweeps.steps(site, at, at.settings.burn_in)
        tried = step_plateau.steps_of(stepped)
        lr, steps_reason = step_plateau.find_step_plateau(tried, at.settings.lr)
        at, outlook, last = _last_pilots(site, at, plan.sampler.lr or lr)
        work_queue.make_all_parts(store, [COMPLETE], lambda name: {"gradients": last})
    return Findings(
        points=points,
        answer=answer,
        steps=tried,
        steps_reason=steps_reason,
        at=at,
        outlook=outlook,
        gradients=_taken([each.settings for each in [*swept, *stepped]]) + last,
    )


def _last_pilots(site: Site, at: ResolvedRun, lr: float) -> tuple[ResolvedRun, ErrorForecast, int]:
    """The resolution with the settings of the last pilot chains, what they say, and the gradients that they took."""
    settings, gradients = sweeps.pilot_settings(site, at, lr), 0
    for attempt in range(ATTEMPTS):
        tried = replace(at, settings=settings)
        outlook = forecast_error(tried, *sweeps.pilot(site, settings))
        gradients += _last_taken(settings)
        if outlook.is_settled:
            break
        settings = outlook.longer(settings)
        if site.fleet.is_main and attempt + 1 < ATTEMPTS:
            site.observer.tell(
                f"The pilot chains have not equilibrated ({outlook.pilot.verdict_reason}): repeating them "
                f"at twice the length, {_last_taken(settings):,} gradients."
            )
    return tried, outlook, gradients


def _last_taken(settings: ResolvedSettings) -> int:
    """Gradients of the last pilot chains."""
    _, varied = sweeps.pilot_tasks(settings)
    return _taken([settings]) + sum(_taken([replace(task.settings, chains=1)]) for task in varied)


def _taken(settings: Sequence[ResolvedSettings]) -> int:
    """Gradients of chains with these settings; equal ones are made once."""
    different = dict.fromkeys(settings)
    return round(sum(each.chains * each.gradients for each in different))


def forecast(site: Site, first: Sequence[ResolvedRun], seconds: float) -> str:
    """What the pilot chains are going to cost, in one sentence; the γ they end at is not known yet.

    Args:
        seconds: that the gradient of one sequence takes.
    """
    at, batch, draws = first[1], site.plan.sampler.chain_batch_size, site.plan.sampler.chain_draws
    swept = sweeps.first_settings(site, first)
    around = sweeps.step_settings(site, at, swept[1].burn_in)
    count = _taken([*swept, *around]) + _last_taken(sweeps.pilot_settings(site, at, at.settings.lr))
    more = sweeps.FIRST * _taken([replace(swept[0], burn_in=LONGEST_BURN_IN * draws)])
    return (
        f"Pilot chains: about {count:,} gradients of {batch} "
        f"{site.plan.items_with_length}, {duration(count * batch * seconds)} in one process at "
        f"the speed of the curvature measurements at w*, and up to {more:,} more at smaller γ that stay "
        "local."
    )


def collect(
    plan: Plan,
    findings: Findings,
    data: DataSettings,
    wanted: CalibrationSettings,
    observer: Observer,
    started: float,
) -> Calibration:
    """The Calibration, kept in the folder of the plan with its settings file and its pictures.

    Args:
        started: `time.monotonic()` when the command began.
    """
    at, outlook = findings.at, findings.outlook
    chosen = outlook.effort(wanted)
    path = plan.run_dir / SETTINGS_FILE
    result = Calibration(
        **checkpoint_of(plan),
        dataset=dataset_of(plan),
        dimension=at.dimension,
        curvature=at.curvature,
        trace_hessian=at.trace_hessian,
        sweep=tuple(findings.points),
        plateau=findings.answer.finding,
        plateau_reason=findings.answer.reason,
        flat=findings.answer.flat,
        steps=tuple(findings.steps),
        steps_reason=findings.steps_reason,
        pilot=outlook.pilot,
        target_stderr=wanted.target_stderr,
        expected_stderr=chosen.stderr / abs(outlook.pilot.llc) if outlook.pilot.llc else None,
        met=chosen.met,
        precision=explain.precision(chosen, outlook, wanted),
        budget=wanted.budget,
        gradients=chosen.gradients,
        pilot_gradients=findings.gradients,
        settings=explain.settings_of(plan, data, chosen.settings),
        reasons=explain.explain_settings(plan, at, findings.answer, chosen, outlook),
        settings_file=str(path),
        run_dir=str(plan.run_dir),
        versions=versions(with_adapter=plan.source.adapter),
        seconds=time.monotonic() - started,
    )
    write_settings(path, result.settings, explain.header(result), result.reasons)
    drop_gradient(plan.run_dir)
    RunStore(plan.run_dir, observer.tell).write(RESULT, result.to_dict())

    def draw(path: Path) -> None:
        from hf_llc.results.figures import calibration

        calibration.sweep(path, result)

    drawn([plan.run_dir / name for name in PICTURES], draw, observer.tell)
    return result


@checked_arguments
def calibrate(
    model: Any,
    data: Any = None,
    sampler: SamplerSettings | str | None = None,
    wanted: CalibrationSettings | None = None,
    *,
    tokenizer: Any = None,
    settings: Any = None,
    output_dir: Path | None = None,
    device: str | None = None,
    observer: Observer | None = None,
    **overrides: Any,
) -> Calibration:
    """Settings of chains for a wanted standard error, and whether λ̂ has a plateau; computed in this process.

    Args:
        model: as in `estimate`. data: as in `estimate`. sampler: settings that are fixed; draws, burn-in and thinning
            are to be found. wanted: the error to reach and the gradients allowed for it.
        tokenizer: of a model in memory; token ids need none.
        settings: a settings file, a mapping of its names, or a result whose settings to use, such as a calibration.
        output_dir: folder of the run; None means `hf-llc-runs/<model>/<sha>/calibration-<key>`.
        device: `cpu`, `cuda` or `mps`; None takes the best one available.
        observer: receives progress and messages; None is silent.
        overrides: single settings by name, such as `gamma=7800`; `target_stderr`, `budget` and `pilot_draws` are those
            of `CalibrationSettings`.

    Raises:
        SettingsError: the sampler makes no chains, or γ or nβ is 0.
        HfLlcError: see `estimate`.
    """
    started = time.monotonic()
    observer = observer or Observer()
    names = {field.name for field in fields(CalibrationSettings)}
    aims = {name: overrides.pop(name) for name in names & overrides.keys()}
    wanted = replace(wanted or CalibrationSettings(), **aims)
    asked_data, asked_sampler = requested(data_settings(data), sampler, settings, overrides, "calibrate")
    asked_model = model_settings(model, tokenizer, data)
    own = plan(asked_model, asked_data, asked_sampler, wanted, output_dir=output_dir, device=device, observer=observer)
    findings = run(own, fleets.single_process(own.device), observer)
    return collect(own, findings, asked_data, wanted, observer, started)
