"""`hf-llc validate`: the sampler on models whose coefficient is known."""

from typing import TYPE_CHECKING, Annotated

import typer

from hf_llc.errors import SettingsError
from hf_llc.settings.posterior import CHAIN_SAMPLERS, FEW_CHAINS
from hf_llc.settings.sampler import SamplerSettings

from . import options as o
from .estimate_table import with_error
from .output import Form, chosen, write_agent, write_json, write_line, write_table
from .progress import ProgressBar

if TYPE_CHECKING:
    from hf_llc.measures.llc.validation.cases import Case
    from hf_llc.measures.llc.validation.validate import Validation

_NET = "Deep linear net (--case dln)"


@o.with_options(SamplerSettings, only=("momentum", "gradient", "batches", "baseline", "seed"))
def validate(
    case: Annotated[
        list[str] | None, typer.Option("--case", help="Run only this case (repeatable). (default: all)")
    ] = None,
    widths: Annotated[
        str | None, typer.Option("--widths", help="Layer widths, such as 20,20,20.", rich_help_panel=_NET)
    ] = None,
    rank: Annotated[int | None, typer.Option("--rank", help="Rank of the true product.", rich_help_panel=_NET)] = None,
    n_beta: Annotated[
        float | None,
        typer.Option("--n-beta", help="nβ. (default: 1e5, or 100 × width with --samples)", rich_help_panel=_NET),
    ] = None,
    samples: Annotated[
        int,
        typer.Option(
            "--samples", help="Real samples with unit noise; 0 for the population loss.", rich_help_panel=_NET
        ),
    ] = 0,
    batch_size: Annotated[
        int | None,
        typer.Option("--batch-size", help="Samples per minibatch. (default: samples / 8)", rich_help_panel=_NET),
    ] = None,
    size: Annotated[
        str | None,
        typer.Option(
            "--size", help="Deep linear net with three factors and about 1m, 10m or 100m weights.", rich_help_panel=_NET
        ),
    ] = None,
    device: Annotated[
        str, typer.Option("--device", help="cpu, cuda or mps, for nets without --samples.", rich_help_panel=_NET)
    ] = "cpu",
    sampler: Annotated[str, typer.Option("--sampler", help=f"{CHAIN_SAMPLERS}.", rich_help_panel="Sampling")] = "auto",
    momentum: float | None = None,
    gradient: str = "auto",
    batches: str = "auto",
    baseline: str = "auto",
    chains: Annotated[
        int, typer.Option("--chains", help="Chains of each case.", min=2, rich_help_panel="Sampling")
    ] = FEW_CHAINS,
    draws: Annotated[int, typer.Option("--draws", help="Draws per chain.", rich_help_panel="Sampling")] = 1500,
    seed: int = 0,
    measures: Annotated[
        bool,
        typer.Option("--measures", help="Try the measures of hf-llc scan --with on cases with known answers instead."),
    ] = False,
    format: o.Format = "auto",
    as_json: o.Json = False,
    quiet: o.Quiet = False,
) -> None:
    """Run the sampler on models whose learning coefficient is known exactly.

    Prints the truth, the estimate with its standard error, how many standard errors they are
    apart, and the verdict: on this machine, with the code that `estimate` uses. Cases whose names
    end in -draws are sampled by independent draws to 5 % of λ̂, the others by chains as asked for.

    Examples:

    \b
    hf-llc validate
    hf-llc validate --case gaussian --sampler sgld
    hf-llc validate --case gaussian-draws
    hf-llc validate --measures
    hf-llc validate --case dln --widths 20,20,20 --rank 10
    hf-llc validate --case dln --widths 10,10 --rank 3 --samples 20000 --gradient control-variate
    """
    form = chosen(format, as_json, quiet)
    if measures:
        if case or size is not None or widths is not None:
            raise typer.BadParameter("--measures excludes --case, --size and --widths: leave these out.")
        return _validate_measures(form)
    net = any(value is not None for value in (widths, rank, n_beta, batch_size)) or samples != 0
    if net and (case or ["dln"]) != ["dln"]:
        raise typer.BadParameter("--widths, --rank, --n-beta, --samples and --batch-size need --case dln.")
    if size is not None and (net or case):
        raise typer.BadParameter("--size excludes --case, --widths, --rank, --n-beta and --samples: leave these out.")
    if batch_size is not None and samples == 0:
        raise typer.BadParameter("--batch-size needs --samples: without samples the loss is exact.")
    from hf_llc.execution.devices import device_kind
    from hf_llc.measures.llc.validation import cases
    from hf_llc.measures.llc.validation import validate as validation
    from hf_llc.sampling.gradients import check_gradient
    from hf_llc.sampling.randomness import check_batches
    from hf_llc.sampling.samplers import check_sampler

    check_sampler(sampler)
    check_gradient(gradient)
    check_batches(batches)
    SamplerSettings(
        momentum=momentum,
        baseline=baseline,
        chains=chains,
        draws=draws,
        seed=seed,
        batch_size=1 if batch_size is None else batch_size,
        n_beta=n_beta,
    )
    if device_kind(device) != "cpu" and (samples or not (net or size)):
        raise SettingsError(f"--device {device} needs --widths or --size without --samples.")
    chosen_cases: list[Case]
    if size is not None:
        chosen_cases = [cases.sized(size, device)]
    elif net:
        chosen_cases = [
            cases.deep_linear(_widths(widths), 10 if rank is None else rank, n_beta, samples, batch_size, device=device)
        ]
    else:
        chosen_cases = [cases.case_of(wanted) for wanted in case or cases.CASES]
    effort = validation.ValidationSettings(
        sampler=sampler,
        momentum=momentum,
        gradient=gradient,
        batches=batches,
        baseline=baseline,
        chains=chains,
        draws=draws,
        seed=seed,
    )
    validations = []
    with ProgressBar(quiet=form is Form.QUIET) as observer:
        for each in chosen_cases:
            validations.append(validation.validate(each, effort, observer))
    _write(validations, form)


def _validate_measures(form: Form) -> None:
    """The table of known answers of measures; exit code 1 if one is not met."""
    from hf_llc.measures.exact_answers import exact_answers

    answers = exact_answers()
    if form is Form.JSON:
        write_json([each.to_dict() for each in answers])
    elif form is Form.AGENT:
        for each in answers:
            write_agent(each.to_dict())
    elif form is Form.QUIET:
        for each in answers:
            write_line(f"{each.answer.value:.6g}")
    else:
        headers = ("measure", "case", "truth", "value", "may differ by", "met")
        rows = [
            (name, each.case, f"{each.truth:.6g}", f"{each.value:.6g}", f"{each.tolerance:.2g}", _met(each.is_met))
            for name, each in answers
        ]
        write_table("Exact answers of measures", headers, rows)
    if not all(each.answer.is_met for each in answers):
        raise typer.Exit(1)


def _met(is_met: bool) -> str:
    return "yes" if is_met else "NO"


def _widths(text: str | None) -> list[int]:
    try:
        return [int(part) for part in (text or "20,20,20").split(",")]
    except ValueError:
        raise typer.BadParameter(f"--widths must be whole numbers such as 20,20,20, got {text!r}") from None


def _write(validations: "list[Validation]", form: Form) -> None:
    if form is Form.JSON:
        write_json([each.to_dict() for each in validations])
    elif form is Form.AGENT:
        for each in validations:
            write_agent(each.to_dict())
    elif form is Form.QUIET:
        for each in validations:
            write_line("" if each.llc is None else f"{each.llc:.6g}")
    else:
        headers = ("case", "truth", "estimate", "error / stderr", "verdict", "gradients", "seconds")
        write_table("Exact answers", headers, [_row(each) for each in validations])


def _row(each: "Validation") -> list[str]:
    number = "no number" if each.llc is None or each.stderr is None else with_error(each.llc, each.stderr)
    error = "" if each.error_in_stderr is None else f"{each.error_in_stderr:+.1f}"
    truth = f"{each.truth:.4g}"
    return [each.case, truth, number, error, each.verdict, f"{each.gradient_evaluations:,}", f"{each.seconds:.1f}"]
