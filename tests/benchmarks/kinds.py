"""Kinds of loss that the stated error is held to: smooth, singular and odd ones, ones on real samples, given steps."""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from tests.benchmarks.truths import Block, Kind, normal, of_blocks, of_samples, quadratic, regression, uniform


def curved(curvature: float) -> Callable[[Tensor], Tensor]:
    return lambda w: curvature / 2 * w[..., 0].square()


def _power(power: int, scale: float = 1.0) -> Callable[[Tensor], Tensor]:
    return lambda w: scale * w[..., 0].abs().pow(power)


def _crossing(*powers: int) -> Callable[[Tensor], Tensor]:
    return lambda w: math.prod(w[..., k].abs().pow(power) for k, power in enumerate(powers))  # type: ignore[return-value]


def _wells(barrier: float, deeper: float, apart: float) -> Callable[[Tensor], Tensor]:
    """Minima at 0 and near `apart`, the second one lower by `deeper`, with about that barrier between them, in nats."""

    def loss(w: Tensor) -> Tensor:
        t = w[..., 0] / apart
        return barrier * (4 * t * (1 - t)).square() - deeper * t.square() * (3 - 2 * t.clamp(-0.5, 1.5))

    return loss


def _funnel(w: Tensor) -> Tensor:
    return w[..., 0].square() / 2 + w[..., 0].exp() * w[..., 1].square() / 2


def _banana(w: Tensor) -> Tensor:
    return (w[..., 1] - w[..., 0].square()).square() + w[..., 0].square() / 10


def _logistic(w: Tensor, inputs: Tensor, labels: Tensor) -> Tensor:
    return torch.nn.functional.softplus(-labels * (w @ inputs.T))


def _poisson(w: Tensor, inputs: Tensor, labels: Tensor) -> Tensor:
    rate = w @ inputs.T
    return rate.exp() - labels * rate


def _tanh(w: Tensor, inputs: Tensor, labels: Tensor) -> Tensor:
    return (labels - w[..., :1] * (w[..., 1:] * inputs).tanh()).square() / 2


def _relu(w: Tensor, inputs: Tensor, labels: Tensor) -> Tensor:
    return (labels - w[..., :1] * (w[..., 1:] * inputs).relu()).square() / 2


def _product(w: Tensor, inputs: Tensor, labels: Tensor) -> Tensor:
    return (labels - w[..., :1] * w[..., 1:] * inputs).square() / 2


def _mixture(w: Tensor, inputs: Tensor, labels: Tensor) -> Tensor:
    apart = torch.stack([(inputs - w[..., k : k + 1]).square() / 2 for k in (0, 1)])
    return -torch.logsumexp(-apart, dim=0)


def kinds() -> list[Kind]:
    """All of them; the regular ones first."""
    return [*_smooth(), *_singular(), *_odd(), *_sampled(), *_steps(), *_irregular()]


def _smooth() -> list[Kind]:
    return [
        quadratic("curvatures 1 to 10⁴", [1, 10, 100, 1e3, 1e4], 100.0, 1000.0),
        quadratic("20 curved, 20 flat", [1.0] * 20 + [0.0] * 20, 100.0, 5.0),
        quadratic("20 curvatures", [0.5, 1, 2, 4] * 5, 100.0, 30.0),
        quadratic("2 curvatures", [1.0, 3.0], 100.0, 10.0),
        quadratic("200 curvatures", [0.1, 0.3, 1, 3] * 50, 100.0, 100.0),
        quadratic("10 curvatures, noisy slopes", [1.0, 2.0] * 5, 50.0, 20.0, noise=1.0),
        quadratic("10 curvatures, quiet slopes", [1.0] * 10, 100.0, 20.0, noise=0.3),
        of_blocks("w* off the minimum", [Block(lambda w: (w[..., 0] - 0.1).square() / 2, copies=10)], 100.0, 50.0),
        of_blocks("logarithms of 1 + w²", [Block(lambda w: (1 + w[..., 0].square()).log(), copies=10)], 20.0, 5.0),
        of_blocks("logarithms of cosh", [Block(lambda w: w[..., 0].cosh().log(), copies=10)], 20.0, 5.0),
        of_blocks(
            "lopsided",
            [Block(lambda w: w[..., 0].square() / 2 + w[..., 0].pow(3) / 2 + w[..., 0].pow(4) / 4, copies=10)],
            10.0,
            2.0,
        ),
    ]


def _singular() -> list[Kind]:
    return [
        of_blocks("quartics of four scales", [Block(_power(4, a), copies=2) for a in (1, 3, 10, 30)], 1e3, 10.0),
        of_blocks("quartics, noisy slopes", [Block(_power(4), copies=10)], 1e3, 50.0, noise=0.1),
        of_blocks("sextics", [Block(_power(6), copies=6)], 1e3, 10.0),
        of_blocks("powers 2, 4 and 6", [Block(_power(p), copies=4) for p in (2, 4, 6)], 1e3, 30.0),
        of_blocks("crossing 2·2", [Block(_crossing(2, 2), (0.0, 0.0))], 1e3, 20.0),
        of_blocks("crossing 2·2·2", [Block(_crossing(2, 2, 2), (0.0,) * 3)], 1e3, 10.0),
        of_blocks("crossings 2·4", [Block(_crossing(2, 4), (0.0, 0.0), copies=4)], 1e3, 10.0),
        of_blocks(
            "crossings and curvatures", [Block(_crossing(2, 2), (0.0, 0.0), 8), Block(curved(2), copies=4)], 1e3, 30.0
        ),
        of_blocks("product valley", [Block(lambda w: (w.prod(-1) - 1).square() / 2, (1.0, 1.0), copies=4)], 200.0, 5.0),
        of_blocks("ring", [Block(lambda w: (w.square().sum(-1) - 1).square() / 4, (1.0, 0.0), copies=3)], 100.0, 3.0),
    ]


def _odd() -> list[Kind]:
    return [
        of_blocks("absolute values", [Block(lambda w: w[..., 0].abs(), copies=10)], 30.0, 20.0),
        of_blocks("one-sided", [Block(lambda w: w[..., 0].relu().square() / 2, copies=10)], 100.0, 10.0),
        of_blocks(
            "funnels",
            [Block(_funnel, (0.0, 0.0), copies=3)],
            20.0,
            2.0,
        ),
        of_blocks(
            "bananas",
            [Block(_banana, (0.0, 0.0), copies=3)],
            50.0,
            2.0,
        ),
        of_blocks("cosines, many wells", [Block(lambda w: 1 - (4 * w[..., 0]).cos(), copies=8)], 1.0, 0.5),
        of_blocks("two wells, barrier 1 kT", [Block(_wells(0.05, 0.0, 1.0), copies=3)], 20.0, 4.0),
        of_blocks("a well beyond the localiser", [Block(_wells(0.5, 0.1, 1.0), copies=5)], 20.0, 100.0),
    ]


def _sampled() -> list[Kind]:
    inputs = normal(1000, 20)
    tails = normal(1000, 10, seed=3) / normal(1000, 5, seed=4).square().mean(1, True).sqrt()
    outliers = normal(600, seed=6)
    outliers[::50] *= 8
    pairs = normal(300, 2, seed=8)
    signs = (uniform(300, seed=7) < torch.sigmoid(pairs @ torch.tensor([1.0, -0.5]).double())).double() * 2 - 1
    line = normal(400, seed=9)
    counts = torch.poisson((0.3 * pairs.sum(1)).exp(), generator=torch.Generator().manual_seed(10))
    return [
        regression("regression, 20 inputs", inputs, normal(1000, seed=11), 100.0, 20.0, 50),
        regression(
            "regression, noise with the inputs",
            inputs[:, :10],
            normal(1000, seed=11) * inputs[:, 0].abs(),
            50.0,
            20.0,
            20,
        ),
        regression("regression, heavy-tailed inputs", tails, normal(1000, seed=12), 100.0, 50.0, 50),
        regression("regression, outlying labels", inputs[:600, :8], outliers, 50.0, 20.0, 30),
        of_samples("logistic regression", _logistic, pairs, signs, (0.5, -0.2), 52.6, 5.0, 30),
        of_samples("Poisson regression", _poisson, pairs, counts, (0.3, 0.3), 52.6, 5.0, 30),
        of_samples(
            "tanh unit", _tanh, line, 1.5 * (0.8 * line).tanh() + 0.5 * normal(400, seed=13), (1.5, 0.8), 66.7, 5.0, 40
        ),
        of_samples(
            "ReLU unit", _relu, line, line.relu() + 0.5 * normal(400, seed=13), (1.0, 1.0), 66.7, 5.0, 40, fit=False
        ),
        of_samples("product at 0", _product, line, 0.5 * normal(400, seed=13), (0.0, 0.0), 66.7, 20.0, 40, fit=False),
        of_samples(
            "two normal components",
            _mixture,
            torch.cat([line[:150] - 1.5, line[150:] + 1.5]),
            line,
            (-1.5, 1.5),
            66.7,
            5.0,
            40,
        ),
    ]


def _steps() -> list[Kind]:
    """Steps that are given, with a bias of λ̂ by the step size that no choice of the product would leave."""
    curvatures = [1.0, 2.0, 4.0] * 7
    return [
        quadratic(f"Euler step, ε(nβh+γ) = {share:g}", curvatures, 100.0, 50.0, sampler="sgld", lr=share / 450)
        for share in (0.1, 0.25, 0.5, 1.0)
    ]


def _irregular() -> list[Kind]:
    many = [Block(curved(1.0), copies=5)]
    leverage = normal(500, 7, seed=20)
    leverage[-1] *= 10

    def jump(w: Tensor) -> Tensor:
        return w[..., 0].square() / 2 + 0.05 * (w[..., 0].abs() > 0.1)

    def hole(w: Tensor) -> Tensor:
        return 1 - torch.exp(-w[..., 0].square() / 2 / 1e-3)

    return [
        of_blocks("two wells, barrier 4 kT", [Block(_wells(0.2, 0.1, 1.0)), *many], 20.0, 1.0, regular=False),
        of_blocks("two wells, barrier 10 kT", [Block(_wells(0.5, 0.3, 1.0)), *many], 20.0, 1.0, regular=False),
        of_blocks("saturated", [Block(hole, copies=40)], 1.0, 0.2, regular=False),
        of_blocks("half saturated", [Block(hole, copies=20), Block(curved(1.0), copies=20)], 2.0, 0.2, regular=False),
        of_blocks("jumps", [Block(jump, copies=10)], 100.0, 10.0, regular=False),
        regression(
            "regression, one late leverage point", leverage, normal(500, seed=21), 50.0, 10.0, 16, regular=False
        ),
    ]
