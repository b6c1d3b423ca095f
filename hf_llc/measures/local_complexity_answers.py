"""Networks with ReLU whose kinks, ranks and derivatives are known: `hf-llc validate --measures local-complexity`."""

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from hf_llc.measures.base import ExactAnswer
from hf_llc.measures.relu_network import (
    ReluNetwork,
    gradient_sizes,
    normal_density,
    numerical_ranks,
    region_density,
    smoothed_density,
)

NARROW = 0.003
"""σ at which boundaries of deep nets on a segment are counted."""


def known_answers() -> list[ExactAnswer]:
    """All of them, computed here and now."""
    nets = [random_net((1, *(10,) * depth), seed) for depth, seed in ((2, 0), (3, 1), (4, 2))]
    return [
        _on_a_line(),
        *(_integrated(sigma) for sigma in (0.1, 1.0)),
        *map(_on_a_segment, nets),
        _signs_on_a_segment(nets[1]),
        _in_the_plane(),
        _by_directional_derivatives(),
        _through_three(),
        _of_orthogonal_layer(),
        _variation(),
    ]


def layers_in(net: nn.Sequential) -> list[nn.Linear]:
    """The linear layers, in order."""
    return [each for each in net if isinstance(each, nn.Linear)]


def random_net(widths: Sequence[int], seed: int) -> nn.Sequential:
    """Linear layers of Gaussian weights with a ReLU behind each, in float64."""
    stream = torch.Generator().manual_seed(seed)
    layers = []
    for inputs, outputs in pairwise(widths):
        layer = nn.Linear(inputs, outputs, dtype=torch.float64)
        with torch.no_grad():
            layer.weight.copy_(torch.randn(outputs, inputs, generator=stream) * math.sqrt(2 / inputs))
            layer.bias.copy_(torch.randn(outputs, generator=stream) * 0.5)
        layers += [layer, nn.ReLU()]
    return nn.Sequential(*layers)


def kinks_on_a_segment(net: nn.Sequential) -> int:
    """Changes of sign of the pre-activations of a net of linear layers and ReLUs on [−1, 1], solved piece by piece.

    Between zeros of earlier layers a pre-activation is linear, and so is known from its values at the ends.
    """
    knots = torch.tensor([-1.0, 1.0], dtype=torch.float64)
    values, count = knots[:, None], 0
    with torch.no_grad():
        for layer in layers_in(net):
            z = layer(values)
            start, end = z[:-1], z[1:]
            place, neuron = (start * end < 0).nonzero(as_tuple=True)
            count += len(place)
            share = start[place, neuron] / (start[place, neuron] - end[place, neuron])
            zeros = knots[place] + share * (knots[place + 1] - knots[place])
            at_zeros = z[place] + share[:, None] * (z[place + 1] - z[place])
            order = torch.cat([knots, zeros]).argsort()
            knots, values = torch.cat([knots, zeros])[order], torch.cat([z, at_zeros])[order].relu()
    return count


def network(net: nn.Sequential, points: Tensor) -> ReluNetwork:
    """The net as a function of its input."""
    return ReluNetwork(net, net, points)


def exact_density(net: ReluNetwork, sigma: float) -> Tensor:
    """Σ_i ‖∇z_i‖ ρ_σ(z_i) at each point of the network, (m,)."""
    with torch.no_grad():
        layers = net.preactivations(net.points)
    sizes = gradient_sizes(net.preactivations, net.points)
    return torch.cat([size * normal_density(z, sigma) for size, z in zip(sizes, layers, strict=True)], 1).sum(dim=1)


def _on_a_line() -> ExactAnswer:
    """One hidden layer: as many kinks as neurons, wherever they are in [0, 1]."""
    stream = torch.Generator().manual_seed(0)
    kinks = 0.1 + 0.8 * torch.rand(17, generator=stream)
    points = torch.rand((200_000, 1), generator=stream)
    densities = region_density(lambda x: x > kinks, points, 0.01, stream)
    return sampled_answer("∫ local complexity, 17 neurons on a line", 17.0, densities)


def _integrated(sigma: float) -> ExactAnswer:
    """One hidden layer: the integral of LC_σ is the number of neurons for every σ."""
    net, points = random_net((1, 17), 0), torch.linspace(-1, 1, 200_001, dtype=torch.float64)[:, None]
    with torch.no_grad():
        layers_in(net)[0].weight.sign_().mul_(2)
    points = points * 20 * max(sigma, 0.2)
    value = float(torch.trapezoid(exact_density(network(net, points), sigma), points[:, 0]))
    return ExactAnswer(case=f"∫ LC_σ, 17 neurons on a line, σ = {sigma:g}", truth=17.0, value=value, tolerance=1e-6)


def _on_a_segment(net: nn.Sequential) -> ExactAnswer:
    points = torch.linspace(-1, 1, 100_001, dtype=torch.float64)[:, None]
    kinks, depth = kinks_on_a_segment(net), len(net) // 2
    value = float(torch.trapezoid(exact_density(network(net, points), NARROW), points[:, 0]))
    case = f"∫ LC_σ of {depth} layers on a segment with {kinks} kinks, σ = {NARROW:g}"
    return ExactAnswer(case=case, truth=kinks, value=value, tolerance=0.01)


def _signs_on_a_segment(net: nn.Sequential) -> ExactAnswer:
    stream = torch.Generator().manual_seed(6)
    points = 2 * torch.rand((200_000, 1), generator=stream, dtype=torch.float64) - 1
    densities = 2 * region_density(network(net, points[:2]).signs, points, 1e-3, stream)
    kinks = kinks_on_a_segment(net)
    return sampled_answer(f"∫ local complexity of 3 layers on a segment with {kinks} kinks", kinks, densities)


def _in_the_plane() -> ExactAnswer:
    """One hidden layer: the lengths of its lines in a disc of radius 3."""
    stream = torch.Generator().manual_seed(1)
    normals = nn.functional.normalize(torch.randn((12, 2), generator=stream), dim=1)
    offsets = 4 * torch.rand(12, generator=stream) - 2
    around = torch.randn((200_000, 2), generator=stream)
    radius = 3 * torch.rand((200_000, 1), generator=stream).sqrt()
    points = radius * nn.functional.normalize(around, dim=1)
    densities = region_density(lambda x: x @ normals.T > offsets, points, 0.03, stream) * 9 * math.pi
    truth = float(2 * (9 - offsets.square()).sqrt().sum())
    return sampled_answer("∫ local complexity, 12 lines in a disc", truth, densities)


def _by_directional_derivatives() -> ExactAnswer:
    """LC_σ from random directions is that from all coordinates."""
    stream = torch.Generator().manual_seed(4)
    net = network(random_net((10, 16, 16), 4), torch.randn((4096, 10), generator=stream, dtype=torch.float64))
    values = smoothed_density(net.preactivations, net.points, 1.0, stream, 1)
    exact = exact_density(net, 1.0)
    case = "LC_σ by directional derivatives, σ = 1"
    return sampled_answer(case, float(exact.mean()), values - exact + exact.mean())


def _through_three() -> ExactAnswer:
    """A network that is active everywhere, through a layer of three."""
    stream = torch.Generator().manual_seed(3)
    model = random_net((6, 3, 5), 3)
    with torch.no_grad():
        for layer in layers_in(model):
            layer.weight.abs_()
            layer.bias.fill_(10.0)
    points = torch.rand((8, 6), generator=stream, dtype=torch.float64)
    return ExactAnswer(
        case="local rank through a layer of 3", truth=3.0, value=_mean_rank(network(model, points)), tolerance=0.0
    )


def _of_orthogonal_layer() -> ExactAnswer:
    """Neurons that are active with probability ½ each, independently: binomial with variance 3."""
    stream = torch.Generator().manual_seed(5)
    model = random_net((12, 12), 5)
    with torch.no_grad():
        (layer,) = layers_in(model)
        layer.weight.copy_(torch.linalg.qr(layer.weight).Q)
        layer.bias.zero_()
    points = torch.randn((4096, 12), generator=stream, dtype=torch.float64)
    value = _mean_rank(network(model, points))
    case = "local rank of an orthogonal layer of 12"
    return ExactAnswer(case=case, truth=6.0, value=value, tolerance=4 * math.sqrt(3 / 4096))


def _variation() -> ExactAnswer:
    """A network that is active everywhere is linear."""
    model = random_net((4, 8, 8), 7)
    with torch.no_grad():
        for layer in layers_in(model):
            layer.weight.abs_()
    points = torch.rand((8, 4), generator=torch.Generator().manual_seed(7), dtype=torch.float64) + 5
    slopes = network(model, points).output_slopes(points)
    first, second = layers_in(model)
    truth = float((second.weight @ first.weight).detach().norm())
    value = math.nan if slopes is None else float(slopes[0].mean())
    return ExactAnswer(case="total variation of a linear region", truth=truth, value=value, tolerance=1e-9)


def _mean_rank(net: ReluNetwork) -> float:
    spectra = net.local_spectra(net.points)
    return math.nan if spectra is None else float(numerical_ranks(spectra).mean())


def sampled_answer(case: str, truth: float, values: Tensor) -> ExactAnswer:
    """A mean of independent values, known to 4 of its standard errors."""
    error = float(values.std()) / math.sqrt(len(values))
    return ExactAnswer(case=case, truth=truth, value=float(values.mean()), tolerance=4 * error)
