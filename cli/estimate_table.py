"""An Estimate in words: what people read in the terminal."""

import math
from typing import TYPE_CHECKING

from hf_llc.results.estimate import Diagnostics, Estimate
from hf_llc.results.interpretation import agreement
from hf_llc.results.progress import duration, size
from hf_llc.settings.component import moves_all
from hf_llc.settings.data import SEPARATOR

if TYPE_CHECKING:
    from hf_llc.measures.llc.forecast import Forecast

LIBRARIES = 5 * 10**8
"""Bytes that a process takes once Python, torch and transformers are in it, about."""


def title(estimate: Estimate) -> str:
    """`model @ revision (commit)`."""
    revision = f" @ {estimate.revision}" if estimate.revision else ""
    return f"{estimate.model}{revision} ({estimate.sha.removeprefix('sha256:')[:12]})"


def number(estimate: Estimate) -> str:
    """λ̂ ± its standard error, to the digits that the error leaves."""
    return "no number" if estimate.llc is None or estimate.stderr is None else with_error(estimate.llc, estimate.stderr)


def with_error(value: float, error: float) -> str:
    """`value ± error`, the error to two digits and the value to as many places."""
    if error <= 0:
        return f"{value:.6g} ± {error:g}"
    places = max(0, 1 - int(f"{error:e}".partition("e")[2]))
    return f"{value:.{places}f} ± {error:.{places}f}"


def rows(estimate: Estimate) -> list[tuple[str, str]]:
    """Names and values of the human table, in reading order."""
    s, d = estimate.settings, estimate.diagnostics
    listed = [
        ("LLC", f"{number(estimate)}   ({_parts(estimate)}; {_effort(estimate)})"),
        ("verdict", f"{estimate.verdict}: {estimate.verdict_reason}"),
        ("interpretation", estimate.interpretation),
        ("parts", _moments(estimate)) if s.by_draws else ("per chain", _per_chain(estimate)),
        ("loss at w*", _loss(estimate)),
    ]
    if "recipe" in estimate.choices:
        listed.insert(2, ("recipe", estimate.choices["recipe"].removeprefix("recipe = ")))
    if estimate.base_model is not None:
        named = s.component or s.params
        what = f"only {named}" if named else "the adapter's weights"
        sha = (estimate.base_sha or "").removeprefix("sha256:")[:12]
        listed.insert(1, ("adapter", f"on {estimate.base_model} ({sha}); {what} move, d = {d.dimension:,}"))
    if d.delta_loss is not None and d.distance is not None:
        listed.append(("ΔL", f"{d.delta_loss:.4g} {estimate.dataset.unit} above it"))
        if not s.by_draws:
            free = f"where the localizing prior alone gives {d.free_distance:.4g}"
            listed.append(("distance", f"{d.distance:.4g} from w*, {free}"))
    if d.weighted_llc is not None and d.pareto_k is not None:
        listed.append(("by weights", _weighted(d)))
    if d.r_hat is not None and d.ess is not None:
        listed.append(("mixing", f"R-hat {d.r_hat:.3f}, effective sample size {d.ess:.0f}"))
    if d.n_beta_slope is not None and d.n_beta_slope_stderr is not None:
        listed.append(("slope in nβ", f"d log λ̂ / d log nβ = {d.n_beta_slope:+.2f} ± {d.n_beta_slope_stderr:.2f}"))
    if estimate.cross_check is not None:
        listed.append(("cross-check", agreement(estimate)))
    column = f", column {estimate.dataset.text_column}" if estimate.dataset.text_column != "text" else ""
    loss_on = f", loss on {estimate.dataset.loss_on}" if estimate.dataset.loss_on else ""
    named = SEPARATOR.join(f"{id_}@{revision.removeprefix('sha256:')[:12]}" for id_, revision in estimate.dataset.parts)
    resolution = "∞" if d.resolution is None else f"{d.resolution:.3g}"
    trace = f": tr H ≈ {d.trace_hessian:.3g}" if math.isfinite(d.trace_hessian) else ""
    kind = "tokens" if estimate.settings.context_length > 1 else "fingerprint"
    listed += [
        ("settings", _settings(estimate)),
        ("resolution", f"γ/nβ = {resolution}{trace}"),
        (
            "data",
            f"{named} {estimate.dataset.split}{column}{loss_on}, "
            f"{kind} {estimate.dataset.fingerprint.removeprefix('sha256:')[:12]}",
        ),
        ("seconds", ", ".join(f"{name} {value:.1f}" for name, value in estimate.seconds.items())),
        ("run folder", estimate.run_dir),
    ]
    return listed


def _items(estimate: Estimate) -> str:
    s, most = estimate.settings, "up to " if estimate.dataset.loss_on else ""
    return f"{s.n} × {most}{s.context_length} tokens" if s.context_length > 1 else str(s.n)


def _settings(estimate: Estimate) -> str:
    s = estimate.settings
    only = f", only {s.params}" if s.params else ""
    only += "" if moves_all(s.component) else f", only component {s.component}"
    only += f", {s.prior} prior" if s.prior != "isotropic" else ""
    only += f", batch norm {s.batch_norm}" if s.batch_norm != "frozen" else ""
    walk = "" if s.by_draws else f"lr {s.lr:.3g}, "
    length = "" if s.by_draws else f"burn-in {s.burn_in}, thin {s.thin}, "
    return (
        f"n_beta {s.n_beta:.4g}, gamma {s.gamma:.4g}, {walk}{s.sampler}, {length}"
        f"batch {s.batch_size} of n = {_items(estimate)}, seed {s.seed}{only}"
    )


def _effort(estimate: Estimate) -> str:
    s, d = estimate.settings, estimate.diagnostics
    if not s.by_draws:
        return f"{s.chains} chains × {s.draws} draws"
    bends = f" and {d.bends} gradients along the slope" if d.bends else ""
    return f"{d.ess or 0.0:.0f} pairs of independent draws, {d.gradient_pairs} more with gradients{bends}"


def _per_chain(estimate: Estimate) -> str:
    return ", ".join("failed" if chain.llc is None else f"{chain.llc:.4g}" for chain in estimate.chains)


def _moments(estimate: Estimate) -> str:
    """What the mean over the prior is, and what is taken from it."""
    d = estimate.diagnostics

    def part(value: float | None, error: float | None) -> str:
        return "unknown" if value is None or error is None else with_error(value, error)

    return (
        f"nβΔL over the prior {part(d.prior_llc, d.prior_llc_stderr)}, of which curvature takes "
        f"{part(d.narrowing_llc, d.narrowing_llc_stderr)} and slope {part(d.slope_llc, d.slope_llc_stderr)}, to first "
        "order"
    )


def _weighted(diagnostics: Diagnostics) -> str:
    d = diagnostics
    return (
        f"{with_error(d.weighted_llc or 0.0, d.weighted_llc_stderr or 0.0)}, {d.effective_draws or 0.0:.3g} effective "
        f"draws, Pareto k̂ {d.pareto_k or 0.0:.2f}"
    )


def _loss(estimate: Estimate) -> str:
    error = estimate.init_loss_stderr
    if not error:
        return f"{estimate.init_loss:.4f} {estimate.dataset.unit}"
    of_drawn = f"from the {estimate.dataset.items} that were drawn"
    return f"{with_error(estimate.init_loss, error)} {estimate.dataset.unit}, {of_drawn}"


def _parts(estimate: Estimate) -> str:
    d = estimate.diagnostics
    if estimate.settings.by_draws:
        return (
            "no error" if d.monte_carlo_stderr is None else f"draws {d.monte_carlo_stderr:.2g}, open ± {d.open_llc:.2g}"
        )
    if d.step_size_stderr is None or d.monte_carlo_stderr is None:
        return "Monte Carlo error; the step size was not checked"
    return f"Monte Carlo {d.monte_carlo_stderr:.2g}, step size {d.step_size_stderr:.2g}"


def forecast_rows(expected: "Forecast") -> list[tuple[str, str]]:
    """Names and values of the --dry-run table."""
    if expected.pairs is not None:
        several = f" in {expected.processes} processes" if expected.processes > 1 else ""
        work = [
            (
                "draws",
                f"{expected.pairs} pairs make the first number, {expected.tokens:,} {expected.items} through the model",
            )
        ]
        time = [
            ("time", f"{duration(expected.seconds)}{several}, from the start of the command, download apart"),
            ("15 minutes", f"give {expected.pairs_in_15_minutes:,} pairs"),
        ]
    else:
        work = [
            (
                expected.items,
                f"{expected.tokens:,} through the model ({expected.chains} chains × {expected.steps} steps)",
            )
        ]
        steps = f"burn-in as if it were {expected.burn_in} steps"
        time = [("time", f"{duration(expected.seconds)} in one process, about; {steps}")]
    if expected.recorded_draws:
        work.append(
            (
                "recording",
                f"{expected.recorded_draws:,} draws × {expected.recorded_items:,} items: "
                f"{duration(expected.recording_seconds)} of the time, {size(expected.recording_bytes)} on disk",
            )
        )
    rate = f"{expected.rate / 1e9:.0f} GFLOP/s"
    moving = "" if expected.moving in {None, expected.parameters} else f", of which {expected.moving:,} move"
    return [
        ("parameters", f"{expected.parameters:,}{moving}"),
        ("download", f"{size(expected.download_bytes)} of {size(expected.weight_bytes)} of weights"),
        ("memory", f"{size(expected.memory_bytes)} per process, about, beside {size(LIBRARIES)} for the libraries"),
        *work,
        ("device", f"{expected.device} at {rate}, as a matrix product just now measured"),
        *time,
    ]
