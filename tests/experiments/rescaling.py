"""Function-preserving rescalings of a ReLU net: where the localizing prior moves λ̂.

W_1, b_1 ↦ c W_1, c b_1 and W_2 ↦ W_2 / c leave a ReLU net's function, and so its learning coefficient, as they are; an
isotropic localizing prior γ/2 ‖w − w*‖² does not know that. A prior whose precision is inversely proportional to each
tensor's own square, γ_j ∝ 1/‖W_j‖² (`prior="relative"`), is invariant.
"""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from matplotlib.figure import Figure
from torch import Tensor, nn
from torch.nn import functional

import hf_llc
from tests.experiments.output import axes, run_script

FACTORS = (1e-2, 0.1, 0.3, 1.0, 3.0, 10.0, 1e2)
PRIORS = ("isotropic", "relative")
IMAGES, INPUTS, WIDTH, CLASSES = 512, 8, 24, 4
GAMMA = 100.0


def trained(steps: int = 3000) -> tuple[nn.Sequential, tuple[Tensor, Tensor]]:
    """A net of two layers at a minimum of its cross-entropy on labels of a wider net, a tenth of them drawn anew."""
    stream = torch.Generator().manual_seed(0)
    inputs = torch.randn(IMAGES, INPUTS, generator=stream)
    teacher = torch.randn(INPUTS, CLASSES, generator=stream)
    labels = (inputs @ teacher + 2 * torch.randn(IMAGES, CLASSES, generator=stream)).argmax(1)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = nn.Sequential(nn.Linear(INPUTS, WIDTH), nn.ReLU(), nn.Linear(WIDTH, CLASSES))
    optimizer = torch.optim.Adam(net.parameters(), lr=0.01)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for _ in range(steps):
        optimizer.zero_grad()
        functional.cross_entropy(net(inputs), labels).backward()
        optimizer.step()
        schedule.step()
    return net, (inputs, labels)


def rescaled(net: nn.Sequential, factor: float) -> nn.Sequential:
    """The net with the first layer times `factor` and the second layer's matrix divided by it."""
    first, second = nn.Linear(INPUTS, WIDTH), nn.Linear(WIDTH, CLASSES)
    first.load_state_dict({name: tensor * factor for name, tensor in net[0].state_dict().items()})
    state = net[2].state_dict()
    second.load_state_dict({"weight": state["weight"] / factor, "bias": state["bias"]})
    return nn.Sequential(first, nn.ReLU(), second)


def loss_of(net: Any, items: tuple[Tensor, Tensor]) -> Tensor:
    """Cross-entropy of each item, in nats."""
    return functional.cross_entropy(net(items[0]), items[1], reduction="none")


def experiment(
    factors: Sequence[float] = FACTORS,
    priors: Sequence[str] = PRIORS,
    output: Path = Path("hf-llc-runs"),
    steps: int = 3000,
    **settings: Any,
) -> list[dict[str, Any]]:
    """A row per prior and factor: λ̂, its standard error and the verdict, and how far the losses at w* have moved."""
    net, data = trained(steps)
    with torch.no_grad():
        before = loss_of(net, data)
    rows = []
    for prior in priors:
        for factor in factors:
            other = rescaled(net, factor)
            run = output / f"{prior}-{factor:g}"
            result = hf_llc.estimate(
                other,
                data,
                losses=loss_of,
                sampler="sgld-lm",
                prior=prior,
                gamma=GAMMA,
                num_processes=1,
                output_dir=run,
                **settings,
            )
            with torch.no_grad():
                moved = float((loss_of(other, data) - before).abs().max())
            rows.append(
                {
                    "prior": prior,
                    "factor": factor,
                    "llc": result.llc,
                    "stderr": result.stderr,
                    "verdict": str(result.verdict),
                    "moved": moved,
                }
            )
            print(rows[-1], file=sys.stderr, flush=True)
    return rows


def picture(rows: Sequence[dict[str, Any]]) -> Figure:
    """λ̂ over the factor, one line for each prior; hollow where the verdict is not `converged`."""
    figure, (axis,) = axes()
    for index, prior in enumerate(dict.fromkeys(row["prior"] for row in rows)):
        part = [row for row in rows if row["prior"] == prior and row["llc"] is not None]
        axis.errorbar(
            [row["factor"] for row in part],
            [row["llc"] for row in part],
            yerr=[2 * row["stderr"] for row in part],
            color=f"C{index}",
            label=f"{prior} localizing prior",
        )
        for row in part:
            face = f"C{index}" if row["verdict"] == "converged" else "white"
            axis.plot(row["factor"], row["llc"], "o", color=f"C{index}", markerfacecolor=face)
    axis.set(
        xscale="log",
        yscale="log",
        xlabel="factor of the first layer",
        ylabel="λ̂ ± 2 standard errors",
        title="One function",
    )
    axis.legend()
    return figure


if __name__ == "__main__":
    run_script("rescaling", experiment, picture)
