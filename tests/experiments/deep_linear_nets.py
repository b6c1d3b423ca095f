"""λ̂ of random deep linear nets beside the exact coefficient, as Lau et al. 2023 compare them.

Widths, depth (2 to 6 factors) and rank are drawn; the exact λ is that of Aoyagi 2024 (`exact.deep_linear_llc`). Each
net is sampled on minibatches of real samples with label noise, all settings chosen automatically.
"""

import sys
from collections.abc import Sequence
from typing import Any

from matplotlib.figure import Figure

from hf_llc.measures.llc.validation.validate import ValidationSettings, validate
from tests.benchmarks.panel import Net, nets
from tests.experiments.output import axes, run_script

COUNT, SMALLEST, LARGEST, SEED = 40, 1e3, 3e4, 1
DRAWS = 100


def experiment(drawn: Sequence[Net] | None = None, draws: int = DRAWS) -> list[dict[str, Any]]:
    """A row per net: its name, weights, exact λ, λ̂, standard error, verdict, gradients and seconds."""
    rows = []
    for seed, net in enumerate(nets(SEED, COUNT, SMALLEST, LARGEST) if drawn is None else drawn):
        # Nets of one seed would have noise in common, and errors of one sign.
        result = validate(net.case(), ValidationSettings(draws=draws, seed=seed))
        rows.append(
            {
                "net": net.name,
                "weights": net.size,
                "truth": result.truth,
                "llc": result.llc,
                "stderr": result.stderr,
                "verdict": str(result.verdict),
                "gradients": result.gradient_evaluations,
                "seconds": round(result.seconds, 1),
            }
        )
        print(rows[-1], file=sys.stderr, flush=True)
    return rows


def picture(rows: Sequence[dict[str, Any]]) -> Figure:
    """λ̂ with two standard errors against the exact λ, and the diagonal; hollow where the verdict is not `converged`."""
    figure, (axis,) = axes()
    numbers = [row for row in rows if row["llc"] is not None]
    span = [min(row["truth"] for row in rows) * 0.8, max(row["truth"] for row in rows) * 1.25]
    axis.plot(span, span, color="0.6", linewidth=1, label="λ̂ = λ")
    for is_converged, face, label in ((True, "C0", "converged"), (False, "white", "another verdict")):
        part = [row for row in numbers if (row["verdict"] == "converged") == is_converged]
        if part:
            axis.errorbar(
                [row["truth"] for row in part],
                [row["llc"] for row in part],
                yerr=[2 * row["stderr"] for row in part],
                fmt="o",
                color="C0",
                markerfacecolor=face,
                label=f"{label} ({len(part)})",
            )
    axis.set(xscale="log", yscale="log", xlabel="exact λ", ylabel="λ̂ ± 2 standard errors", title="Deep linear nets")
    axis.legend()
    return figure


if __name__ == "__main__":
    run_script("deep_linear_nets", experiment, picture)
