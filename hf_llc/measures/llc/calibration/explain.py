"""What a calibration's settings file says: the values, and why they are what they are."""

from typing import Any

from hf_llc.execution.plan import Plan
from hf_llc.measures.llc.calibration.budget import FEWEST_EFFECTIVE, KEPT, SETTLING_ERRORS, DrawBudget
from hf_llc.measures.llc.calibration.gamma_plateau import PlateauResult
from hf_llc.measures.llc.calibration.predict import ErrorForecast
from hf_llc.measures.llc.resolution import ResolvedRun, temperature
from hf_llc.measures.llc.summarise import dataset_of
from hf_llc.results.calibration import Calibration, Finding, Pilot
from hf_llc.results.estimate import pinned_name
from hf_llc.results.interpretation import SIGNIFICANT
from hf_llc.sampling.tuning.choose_chains import burn_in_sentence
from hf_llc.sampling.tuning.step_size import relaxation_rate, stability
from hf_llc.settings.calibration import CalibrationSettings
from hf_llc.settings.data import SEPARATOR, DataSettings
from hf_llc.settings.execution import ExecutionSettings
from hf_llc.settings.posterior import as_in_earlier
from hf_llc.settings.resolved import ResolvedSettings
from hf_llc.tasks import DEFAULT

AS_ASKED, AS_GIVEN = "as asked", "as given, or the default"


def settings_of(plan: Plan, data: DataSettings, chosen: ResolvedSettings) -> dict[str, Any]:
    """The settings file's content: the text, pinned, and everything that `estimate` and `scan` would else choose."""
    corpus, record = plan.corpus, dataset_of(plan)
    several = len(record.parts) > 1
    text = {
        "dataset": [pinned_name(*part) for part in record.parts] if several else corpus.id,
        "dataset_config": corpus.config,
        "split": corpus.split,
        "dataset_revision": None if several or record.is_local else corpus.revision,
        # Several datasets that have no column in common are each read by their own.
        "text_column": None if SEPARATOR in corpus.text_column else corpus.text_column,
        "label_column": corpus.label_column,
        "task": corpus.task if corpus.task != DEFAULT else None,
        "max_sequences": data.max_sequences,
        "context_length": corpus.context_length if corpus.context_length > 1 else None,
        "loss_on": None if corpus.loss_on == "labels" else corpus.loss_on,  # which are in the file
        "bos": None if corpus.bos == "auto" else corpus.bos,
    }
    names = ("n_beta", "gamma", "sampler", "momentum", "lr", "burn_in_lr", "start", "gradient", "batches", "baseline",
             "burn_in", "chains", "draws", "thin", "batch_size", "seed", "prior", "batch_norm")  # fmt: skip
    everything = text | {name: getattr(chosen, name) for name in names}
    values = {name: value for name, value in everything.items() if value is not None}
    values = {name: value for name, value in values.items() if name not in as_in_earlier(values)}
    default = ExecutionSettings()
    how = {"dtype": plan.dtype, "devices_per_chain": plan.sampler.devices_per_chain}
    values |= {name: value for name, value in how.items() if value != getattr(default, name)}
    return values | ({"params": list(plan.sampler.params)} if plan.sampler.params else {})


def header(calibration: Calibration) -> list[str]:
    """The paragraphs at the head of the settings file."""
    revision = f" @ {calibration.revision}" if calibration.revision else ""
    return [
        f"Settings for hf-llc estimate --settings and hf-llc scan --settings, found by hf-llc calibrate on "
        f"{calibration.model}{revision} ({calibration.sha.removeprefix('sha256:')[:12]}), whose λ̂ was "
        f"{calibration.pilot.llc:.4g} ± "
        f"{calibration.pilot.stderr:.2g} in the pilot chains (verdict: {calibration.pilot.verdict}).",
        calibration.precision,
        calibration.plateau_reason,
        calibration.steps_reason,
    ]


def explain_settings(
    plan: Plan, at: ResolvedRun, answer: PlateauResult, chosen: DrawBudget, outlook: ErrorForecast
) -> dict[str, str]:
    """Where each number of the settings file came from, by its name."""
    asked, settings, pilot = plan.sampler, chosen.settings, outlook.pilot
    _, n_beta = temperature(asked.n_beta, plan.corpus.n, plan.items)
    rate = relaxation_rate(settings.lr, settings.gamma, settings.sampler, settings.momentum)
    sentences = {
        "dataset": f"The data: {plan.corpus.n} {plan.items}, fingerprint {plan.corpus.fingerprint[7:19]}.",
        "n_beta": n_beta.get("n_beta", AS_ASKED),
        "gamma": _gamma(at, answer, asked.gamma is not None),
        "lr": AS_ASKED if asked.lr is not None else _lr(at),
        "burn_in": f"{burn_in_sentence(settings.burn_in, rate, settings.start)} {_burn_in(pilot)}",
        "chains": AS_GIVEN,
        "draws": _draws(chosen, pilot),
        "thin": _thin(settings.thin, pilot.autocorrelation),
        "batch_size": AS_GIVEN,
    }
    for name in ("sampler", "start"):
        sentences[name] = at.choices.get(name, AS_ASKED)
    # The value stands beside the remark; what goes before the colon would only repeat it.
    return {name: _bare(name, sentence) for name, sentence in sentences.items()}


def _bare(name: str, sentence: str) -> str:
    return sentence.partition(": ")[2] if sentence.startswith(f"{name} = ") else sentence


def _gamma(at: ResolvedRun, answer: PlateauResult, asked: bool) -> str:
    if asked:
        return AS_ASKED
    if answer.finding is Finding.FOUND:
        return "the largest value on the plateau of λ̂."
    plateau = "There is no plateau" if answer.finding is Finding.NONE else "A plateau is not shown"
    why = at.choices.get("gamma", "the nearest value above the usual choice whose λ̂ is valid.")
    return f"{_bare('gamma', why)} {plateau}, see above."


def _lr(at: ResolvedRun) -> str:
    value = stability(at.settings.lr, at.settings.n_beta, at.curvature, at.settings.gamma)
    return (
        f"ε(nβh+γ) = {value:.2g} at the measured curvature h = {at.curvature:.3g} (unstable from 4): the largest step "
        "that agrees with smaller ones, as far as curvature and gradient noise allow it; see above."
    )


def _burn_in(pilot: Pilot) -> str:
    apart = f"{pilot.burn_in_error:+.1f} standard errors"
    if abs(pilot.burn_in_error) > SETTLING_ERRORS:
        return (
            f"It may be too short: the pilot chains had not equilibrated, their first draws lie {apart} "
            "from later ones."
        )
    return f"In the pilot chains the first draws lie {apart} from later ones."


def _draws(chosen: DrawBudget, pilot: Pilot) -> str:
    sentence = f"an effective draw takes {pilot.autocorrelation:.2g} steps"
    if chosen.floor:
        return (
            f"{sentence}; fewer would suffice for the wanted error, but below {FEWEST_EFFECTIVE:g} effective "
            "draws the error itself and R-hat are unreliable."
        )
    return f"{sentence}; their expected error is at the head of this file."


def _thin(thin: int, autocorrelation: float) -> str:
    if thin == 1:
        return (
            "every step is kept: its loss is computed anyway, so a draw costs nothing and dropping "
            "one only loses precision."
        )
    return (
        f"neighbouring steps are strongly correlated (an effective draw takes {autocorrelation:.2g} "
        f"steps); {KEPT} draws per effective draw lose about 1 % of the precision and keep files and "
        "sensitivity chains short."
    )


def precision(chosen: DrawBudget, outlook: ErrorForecast, wanted: CalibrationSettings) -> str:
    """What error is to be expected, and at what cost, beside what was wanted."""
    value, target, budget = abs(outlook.pilot.llc), wanted.target_stderr, wanted.budget
    cost = f"{chosen.gradients:,} gradients, sensitivity chains included"
    expected = f"{chosen.stderr / value:.2%} of λ̂" if value else f"{chosen.stderr:.2g}"
    if chosen.met:
        return f"Wanted: a standard error of {target:.2%} of λ̂. Expected: {expected}, for {cost}."
    least = outlook.spread.bias / 3
    if value <= SIGNIFICANT * outlook.pilot.stderr:
        why = "λ̂ is 0 within the errors of the pilot chains, so no share of it can be targeted"
    elif least > target * value:
        why = f"the step size alone leaves {least / value:.2%}; lower `lr`"
    elif chosen.gradients > budget:
        why = f"burn-in, sensitivity chains and the fewest draws take more than the budget of {budget:,} gradients"
    else:
        why = f"the budget is {budget:,} gradients"
    return (
        f"Wanted: a standard error of {target:.2%} of λ̂. It will not be reached: {why}. Expected: {expected}, for "
        f"{cost}."
    )
