"""Modular addition learned in two seeds: the notebook `docs/examples/06_grokking.ipynb`, run again with others.

Each seed leaves `grokking-SEED` in the working directory; one whose table is there is not run again.
"""

import json
import math
from pathlib import Path
from typing import Any

import pandas
from matplotlib.figure import Figure

from tests.experiments.output import run_script
from tests.notebooks import EXAMPLES, open_figures, run

NOTEBOOK = EXAMPLES / "06_grokking.ipynb"
SEEDS = (0, 1)
COLUMNS = {
    "test loss": "test loss (nats)",
    "train loss": "train loss (nats)",
    "llc": "λ̂ (hollow: not converged)",
    "local_complexity": "local complexity (1/embedding)",
    "sign_change_density": "sign changes per relative step",
    "local_effective_rank": "effective rank, last hidden layer",
    "weight_norm": "norm of the weights",
    "quantisation_bits_50": "bits at which rounding costs 0.05 nats",
}
"""Columns of a seed's table that are drawn, with the titles of their panels."""


def experiment(seeds: tuple[int, ...] = SEEDS, **parameters: Any) -> list[dict[str, Any]]:
    """The rows of all seeds: a checkpoint each, with its losses, λ̂ and its measures."""
    rows: list[dict[str, Any]] = []
    for seed in seeds:
        path = Path(f"grokking-{seed}/table.csv")
        if not path.is_file():
            run(json.loads(NOTEBOOK.read_text(encoding="utf-8")), open_figures, {"SEED": seed, **parameters})
        table = pandas.read_csv(path)
        for row in table[["step", "stderr", "verdict", *COLUMNS]].to_dict("records"):
            empty = {key for key, value in row.items() if isinstance(value, float) and math.isnan(value)}
            rows.append({"seed": seed, **{str(key): None if key in empty else value for key, value in row.items()}})
    return rows


def picture(rows: list[dict[str, Any]]) -> Figure:
    """A panel a column, a line a seed."""
    figure = Figure(figsize=(10, 10), layout="constrained")
    panels = figure.subplots(4, 2, sharex=True).flat
    for panel, (column, title) in zip(panels, COLUMNS.items(), strict=True):
        for seed in sorted({row["seed"] for row in rows}):
            points = [row for row in rows if row["seed"] == seed and row[column] is not None]
            steps, values = [row["step"] + 1 for row in points], [row[column] for row in points]
            panel.plot(steps, values, color=f"C{seed}", marker="" if column == "llc" else ".", label=f"seed {seed}")
            if column == "llc":
                faces = [f"C{seed}" if row["verdict"] == "converged" else "white" for row in points]
                panel.errorbar(steps, values, [row["stderr"] for row in points], fmt="none", color=f"C{seed}")
                panel.scatter(steps, values, s=24, c=faces, edgecolors=f"C{seed}", zorder=3)
        panel.set(title=title, xscale="log")
        if column.endswith("loss"):
            panel.set_yscale("log")
    figure.axes[0].legend()
    for panel in figure.axes[-2:]:
        panel.set_xlabel("step + 1")
    return figure


if __name__ == "__main__":
    run_script("grokking", experiment, picture)
