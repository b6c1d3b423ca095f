"""Training heuristics and λ̂ on Fashion-MNIST: learning rate η, batch size B and momentum m of SGD.

A residual net without normalisation is trained on 2,048 images of 14 × 14 pixels by SGD at constant η, and estimated

* `end`: after the last epoch, as Lau et al. 2023 do: where the last step happened to land;
* `cooled`: after a cool-down from there that is common to all runs;
* `matched`: after the same cool-down from the first epoch from which it ends at a training loss below MATCHED, so that
  the runs are compared at one training loss. Training goes on for that, to LONGEST epochs at most.

The script reads the four `.gz` files of Fashion-MNIST from the folder that FASHION_MNIST names.
"""

import copy
import gzip
import os
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from matplotlib.figure import Figure
from torch import Tensor, nn
from torch.nn import functional

import hf_llc
from tests.experiments.output import axes, run_script

IMAGES, EPOCHS, LONGEST, MATCHED = 2048, 40, 300, 0.25
EVERY = 3
"""Epochs between two looks at where the cool-down ends."""
COOLING, COOLING_RATE, COOLING_MOMENTUM, COOLING_BATCH = 12, 0.02, 0.9, 128
GAMMA, BATCH = 100.0, 128
LR, BURN_IN = 1e-4, 250
"""ε of the chains: ε nβ h is 0.6 at the largest curvature of a net trained at η = 0.05; a flat direction relaxes in 200
steps."""


@dataclass(frozen=True)
class Recipe:
    """SGD's settings: η, B, m and the seed of weights and order."""

    rate: float
    batch: int = 32
    momentum: float = 0.0
    seed: int = 0

    @property
    def noise(self) -> float:
        """η / (B (1 − m)), the scale of SGD's noise (Mandt et al. 2017)."""
        return self.rate / (self.batch * (1 - self.momentum))


class Block(nn.Module):
    """x + a ReLU convolution of half its own scale, so that depth does not blow up without normalisation."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, channels, 3, padding=1)
        self.second = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return functional.relu(x + 0.5 * self.second(functional.relu(self.first(x))))


def network(seed: int) -> nn.Module:
    """The net at its initial weights: 18,682 of them."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return nn.Sequential(
            nn.Conv2d(1, 16, 3, padding=1, stride=2),
            nn.ReLU(),
            Block(16),
            nn.Conv2d(16, 24, 3, padding=1, stride=2),
            nn.ReLU(),
            nn.Conv2d(24, 24, 3, padding=1),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(24, 10),
        )


def images(folder: Path, name: str, count: int) -> tuple[Tensor, Tensor]:
    """The first `count` images, (count, 1, 14, 14) from 0 to 1, and their classes; `name` is `train` or `t10k`."""
    pixels = gzip.decompress((folder / f"{name}-images-idx3-ubyte.gz").read_bytes())[16:]
    classes = gzip.decompress((folder / f"{name}-labels-idx1-ubyte.gz").read_bytes())[8:]
    x = torch.frombuffer(bytearray(pixels), dtype=torch.uint8)[: count * 784].reshape(count, 1, 28, 28)
    return functional.avg_pool2d(x.float() / 255, 2), torch.frombuffer(bytearray(classes), dtype=torch.uint8)[
        :count
    ].long()


def train_epoch(
    net: nn.Module, optimizer: torch.optim.Optimizer, data: tuple[Tensor, Tensor], batch: int, stream: torch.Generator
) -> float:
    """One epoch of SGD; the mean of its minibatches' losses, which is what training reports."""
    x, y = data
    losses = []
    for indices in torch.randperm(len(x), generator=stream).split(batch):
        optimizer.zero_grad()
        loss = functional.cross_entropy(net(x[indices]), y[indices])
        loss.backward()
        optimizer.step()
        losses.append(loss.item() * len(indices))
    return sum(losses) / len(x)


def cooled(net: nn.Module, data: tuple[Tensor, Tensor], epochs: int, seed: int) -> nn.Module:
    """A copy after `epochs` epochs at a learning rate that falls to 0."""
    net, stream = copy.deepcopy(net), torch.Generator().manual_seed(seed)
    optimizer = torch.optim.SGD(net.parameters(), lr=COOLING_RATE, momentum=COOLING_MOMENTUM)
    for epoch in range(epochs):
        for group in optimizer.param_groups:
            group["lr"] = COOLING_RATE * (1 - epoch / epochs)
        train_epoch(net, optimizer, data, COOLING_BATCH, stream)
    return net


def loss_of(net: Any, items: tuple[Tensor, Tensor]) -> Tensor:
    """Cross-entropy of each image, in nats."""
    return functional.cross_entropy(net(items[0]), items[1], reduction="none")


@torch.no_grad()
def mean_loss(net: nn.Module, items: tuple[Tensor, Tensor]) -> float:
    """The training loss over all items."""
    return float(loss_of(net, items).mean())


@dataclass(frozen=True)
class Setup:
    """The sizes of the experiment; a tiny one is for tests."""

    images: int = IMAGES
    epochs: int = EPOCHS
    longest: int = LONGEST
    cooling: int = COOLING
    chains: int = 4
    draws: int = 150


def estimated(net: nn.Module, data: tuple[Tensor, Tensor], setup: Setup, output: Path) -> dict[str, Any]:
    """λ̂, its error, the verdict, and the training loss on all images."""
    result = hf_llc.estimate(
        net,
        data,
        losses=loss_of,
        gamma=GAMMA,
        batch_size=min(BATCH, setup.images // 2),
        chains=setup.chains,
        draws=setup.draws,
        lr=LR,
        burn_in=min(BURN_IN, 4 * setup.draws),
        num_processes=1,
        output_dir=output,
    )
    return {"loss": mean_loss(net, data), "llc": result.llc, "stderr": result.stderr, "verdict": str(result.verdict)}


def trained(
    recipe: Recipe, data: tuple[Tensor, Tensor], test: tuple[Tensor, Tensor], setup: Setup, output: Path
) -> dict[str, Any]:
    """A row: the recipe, its noise, and λ̂ at the end, cooled from there, and cooled from the matched epoch."""
    net, stream = network(recipe.seed), torch.Generator().manual_seed(recipe.seed)
    optimizer = torch.optim.SGD(net.parameters(), lr=recipe.rate, momentum=recipe.momentum)
    matched, matched_epoch, end = None, None, net
    for epoch in range(1, setup.longest + 1):
        train_epoch(net, optimizer, data, recipe.batch, stream)
        if epoch == setup.epochs:
            end = copy.deepcopy(net)
        if matched is None and epoch % EVERY == 0:
            candidate = cooled(net, data, setup.cooling, recipe.seed)
            if mean_loss(candidate, data) < MATCHED:
                matched, matched_epoch = candidate, epoch
        if matched is not None and epoch >= setup.epochs:
            break
    after = cooled(end, data, setup.cooling, recipe.seed)
    row: dict[str, Any] = {**asdict(recipe), "noise": recipe.noise, "matched_epoch": matched_epoch}
    runs = output / f"{recipe.rate:g}-{recipe.batch}-{recipe.momentum:g}-{recipe.seed}"
    row["end"] = estimated(end, data, setup, runs / "end")
    row["cooled"] = estimated(after, data, setup, runs / "cooled")
    if matched is not None:
        row["matched"] = estimated(matched, data, setup, runs / "matched")
    with torch.no_grad():
        row["test_accuracy"] = float((after(test[0]).argmax(1) == test[1]).float().mean())
    print(row, file=sys.stderr, flush=True)
    return row


SEEDS, RATES = (0, 1, 2), (0.05, 0.1, 0.2, 0.4)
"""Learning rates at batches of 32. The last two are met again by half the batch, and by a momentum of one half."""
PAIRS = ((0.1, 16, 0.0, 0.2), (0.1, 32, 0.5, 0.2))
"""η, B, m of runs whose noise is that of the learning rate that stands last."""


def recipes() -> list[Recipe]:
    """Four learning rates, and two runs of equal noise, for each seed."""
    results = []
    for seed in SEEDS:
        results += [Recipe(rate, seed=seed) for rate in RATES]
        results += [Recipe(rate, batch, momentum, seed) for rate, batch, momentum, _ in PAIRS]
    return results


def experiment() -> list[dict[str, Any]]:
    """A row per recipe, of Fashion-MNIST in the folder $FASHION_MNIST."""
    folder = Path(os.environ["FASHION_MNIST"])
    torch.set_num_threads(1)
    setup = Setup()
    data, test = images(folder, "train", setup.images), images(folder, "t10k", 2000)
    output = Path("hf-llc-runs")
    return [trained(recipe, data, test, setup, output) for recipe in recipes()]


def picture(rows: list[dict[str, Any]]) -> Figure:
    """λ̂ against η/(B(1−m)): at the end of training, cooled from there, and at matched training loss."""
    figure, panels = axes(12, 4, columns=3)
    titles = {"end": "last epoch", "cooled": "after a common cool-down", "matched": "matched loss after the cool-down"}
    for axis, (part, title) in zip(panels, titles.items(), strict=True):
        for seed in sorted({row["seed"] for row in rows}):
            for is_plain, marker in ((True, "o"), (False, "^")):
                points = [
                    row
                    for row in rows
                    if row["seed"] == seed and part in row and (row["batch"] == 32 and row["momentum"] == 0) == is_plain
                ]
                points = [row for row in points if row[part]["llc"] is not None]
                axis.errorbar(
                    [row["noise"] * 1e3 for row in points],
                    [row[part]["llc"] for row in points],
                    yerr=[2 * row[part]["stderr"] for row in points],
                    fmt=f"{marker}-" if is_plain else marker,
                    color=f"C{seed}",
                    label=f"seed {seed}" if is_plain else None,
                )
        axis.set(xscale="log", xlabel="1000 η / (B (1 − m))", ylabel="λ̂ ± 2 standard errors", title=title)
    panels[0].legend()
    return figure


if __name__ == "__main__":
    run_script("training", experiment, picture)
