"""Do local rank and local complexity fall together where an MLP learns low-rank features (Patel & Montúfar 2024)?

ReLU MLPs of two hidden layers are trained by SGD with weight decay on y = Σ_j sin(1.5 u_j·x) / √(r/2) of r orthonormal
directions u_j in d dimensions, x ~ N(0, I): of 1 and 2 directions, and of all d as a control. `hf_llc.measure` has
local rank and local complexity at the training inputs along training.
"""

import math
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from matplotlib.figure import Figure
from torch import Tensor, nn

import hf_llc
from tests.experiments.output import axes, run_script

COLUMNS = (
    "local_rank",
    "local_effective_rank",
    "local_complexity",
    "smoothed_local_complexity",
    "total_variation",
    "total_variation_bound",
)
PANELS = {
    "loss": "training loss",
    "local_rank": "local rank",
    "local_effective_rank": "local effective rank",
    "local_complexity": "local complexity",
    "smoothed_local_complexity": "smoothed, σ = 1",
}


@dataclass(frozen=True)
class Setup:
    """Sizes of nets and data, SGD's settings, the steps at which to measure, and the parts of the items over which the
    columns are averaged."""

    dimension: int = 10
    width: int = 32
    items: int = 1024
    batch: int = 128
    rate: float = 0.03
    momentum: float = 0.9
    decay: float = 2e-3
    steps: tuple[int, ...] = (0, 100, 300, 1000, 3000, 10000, 30000)
    parts: int = 8


def network(setup: Setup, seed: int) -> nn.Sequential:
    """The net at its initial weights, those of torch's defaults."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return nn.Sequential(
            nn.Linear(setup.dimension, setup.width),
            nn.ReLU(),
            nn.Linear(setup.width, setup.width),
            nn.ReLU(),
            nn.Linear(setup.width, 1),
        )


def data(setup: Setup, rank: int, seed: int) -> tuple[Tensor, Tensor]:
    """Inputs, and a target of variance near 1 that depends on `rank` directions of them."""
    stream = torch.Generator().manual_seed(1000 + seed)
    x = torch.randn((setup.items, setup.dimension), generator=stream)
    directions = torch.linalg.qr(torch.randn((setup.dimension, setup.dimension), generator=stream)).Q[:, :rank]
    return x, (1.5 * x @ directions).sin().sum(dim=1, keepdim=True) / math.sqrt(rank / 2)


def losses(net: Any, batch: tuple[Tensor, Tensor]) -> Tensor:
    """Half the squared error of each item."""
    x, y = batch
    errors: Tensor = net(x) - y
    return errors.square().sum(-1) / 2


def trained(setup: Setup, rank: int, seed: int, folder: Path) -> list[dict[str, Any]]:
    """A row for each step at which the net is measured."""
    net, items = network(setup, seed), data(setup, rank, seed)
    stream = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.SGD(net.parameters(), lr=setup.rate, momentum=setup.momentum, weight_decay=setup.decay)
    rows: list[dict[str, Any]] = []
    for step in range(setup.steps[-1] + 1):
        if step in setup.steps:
            rows.append({"rank": rank, "seed": seed, "step": step, **measured(net, items, setup.parts, folder)})
        chosen = torch.randint(setup.items, (setup.batch,), generator=stream)
        optimizer.zero_grad()
        losses(net, (items[0][chosen], items[1][chosen])).mean().backward()
        optimizer.step()
    return rows


def measured(net: nn.Module, items: tuple[Tensor, Tensor], parts: int, folder: Path) -> dict[str, Any]:
    """The training loss, the columns of `local-complexity`, and the spread of LC over parts of the items."""
    records = []
    for seed in range(parts):
        part = tuple(each[seed::parts] for each in items)
        with tempfile.TemporaryDirectory(dir=folder) as place:
            settings: dict[str, Any] = {"losses": losses, "device": "cpu", "seed": seed, "output_dir": Path(place)}
            records.append(hf_llc.measure(net, part, "local-complexity", **settings)["local-complexity"])
    with torch.no_grad():
        loss = float(losses(net, items).mean())
    columns = {name: sum(record[name] for record in records) / parts for name in COLUMNS}
    complexities = torch.tensor([record["local_complexity"] for record in records])
    return {"loss": loss, **columns, "local_complexity_stderr": float(complexities.std() / math.sqrt(parts))}


def experiment(setup: Setup = Setup(), ranks: Sequence[int] = (), seeds: int = 3) -> list[dict[str, Any]]:
    """Rows of all targets and seeds; by default of 1, 2 and all directions."""
    with tempfile.TemporaryDirectory() as folder:
        return [
            row
            for rank in ranks or (1, 2, setup.dimension)
            for seed in range(seeds)
            for row in trained(setup, rank, seed, Path(folder))
        ]


def picture(rows: list[dict[str, Any]]) -> Figure:
    """Each column over training, a line for each seed and a colour for each rank of the target."""
    figure, panels = axes(15.0, 3.4, len(PANELS))
    ranks = sorted({row["rank"] for row in rows})
    for panel, (column, title) in zip(panels, PANELS.items(), strict=True):
        for seed in sorted({row["seed"] for row in rows}):
            for colour, rank in enumerate(ranks):
                line = [row for row in rows if (row["rank"], row["seed"]) == (rank, seed)]
                panel.plot(
                    [row["step"] + 10 for row in line],
                    [row[column] for row in line],
                    color=f"C{colour}",
                    label=f"target of rank {rank}" if seed == 0 else None,
                )
        panel.set(xscale="log", xlabel="step + 10", title=title)
    panels[0].set_yscale("log")
    panels[0].legend()
    return figure


if __name__ == "__main__":
    run_script("low_rank_features", experiment, picture)
