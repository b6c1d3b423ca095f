"""How densely the input space is cut by changes of sign of pre-activations.

Of language models: `sign_change_density`, the share of the MLP's (gate) pre-activations that change sign when each
embedding e_t moves by a random step of length h‖e_t‖, divided by h. It does not change when a layer is scaled and the
next one scaled back, and says nothing of kinks, which GELU and SiLU do not have. A linear layer of Gaussian weights has
arctan(h)/(πh), about 1/π, which stands beside it: below it, the model is smoother than a random one.

Of networks with ReLU, where a change of sign is a kink: `local_complexity`, the density of boundaries of activation
regions at the data (Patel & Montúfar 2024, arXiv 2412.18283; theirs adds Gaussian noise of size σ to biases, this is
the limit σ → 0), from changes of sign along random directions u of length 1,

    LC = E #{signs that change between x and x + h u} / (h c_d),   c_d = Γ(d/2) / (√π Γ((d+1)/2)),

and `local_rank`, the mean numerical rank of the Jacobian of the last hidden layer. A boundary that nothing further on
sees counts too.
"""

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from hf_llc.components.structure import layers_of
from hf_llc.measures.base import OTHER_ITEM, ExactAnswer, MeasureContext, NotApplicableError
from hf_llc.measures.layer_outputs import hooked
from hf_llc.measures.relu_network import ReluNetwork, region_density
from hf_llc.results.columns import Column
from hf_llc.sampling import seeds
from hf_llc.tasks.text_generation.objective import LanguageObjective

TOKENS = 1024
"""Tokens, about, of the sequences whose embeddings move."""
ITEMS, RANKED = 64, 16
"""Items that are no text at which signs are counted, and at which the rank of the Jacobian is taken."""
PROBES, DIRECTIONS = 2, 8
"""Random steps of each sequence, and of each item that is no text."""
STEP = 0.1
"""h of embeddings, in units of their length."""
SHORT = 1e-2
"""h of other inputs, in units of their root mean square distance from 0 in one coordinate."""
GATES = ("gate_proj", "gate_up_proj", "dense_h_to_4h", "c_fc", "fc_in", "fc1", "wi_0", "wi", "w1", "lin1", "up_proj")
"""Names of the linear layers whose outputs go through the nonlinearity of an MLP, in the order in which they are
looked for; of `gate_up_proj` the first half does."""


class LocalComplexity:
    """Sign changes of a language model, or activation regions of a network with ReLU."""

    needs = ()
    columns = (
        Column("sign_change_density", "number", "", "share of MLP pre-activations that change sign per relative step "
               "of the embeddings", "sign_change_null", True),
        Column("sign_change_null", "number", "", "`sign_change_density` of a layer of Gaussian weights"),
        Column("sign_change_densities", "numbers", "", "`sign_change_density` in each layer"),
        Column("local_complexity", "number", "1/input", "density of boundaries of activation regions at the data",
               has_panel=True),
        Column("local_complexity_stderr", "number", "1/input", "its standard error over items"),
        Column("local_rank", "number", "", "mean rank of the Jacobian of the last hidden layer", has_panel=True),
    )  # fmt: skip

    def run(self, context: MeasureContext) -> dict[str, Any]:
        """A few forward passes."""
        values = dict.fromkeys(column.name for column in self.columns)
        if isinstance(context.objective, LanguageObjective):
            densities = _densities(context)
            return {
                **values,
                "sign_change_density": sum(densities) / len(densities),
                "sign_change_null": random_density(STEP),
                "sign_change_densities": densities,
            }
        return {**values, **_regions(context)}

    def exact_answers(self) -> Sequence[ExactAnswer]:
        """Kinks of a net on a line, of a net in the plane, sign changes of Gaussian layers, a layer of rank 3."""
        return [_on_a_line(), _in_the_plane(), _of_random_layers(), _through_three()]


MEASURE = LocalComplexity()


def random_density(step: float) -> float:
    """Sign changes per relative step of a linear layer of independent Gaussian weights: arctan(h) / (π h)."""
    return math.atan(step) / (math.pi * step)


def _densities(context: MeasureContext) -> list[float]:
    model: Any = context.model
    gates = [gate for layer in layers_of(model).values() if (gate := _gate(layer)) is not None]
    if not gates:
        raise NotApplicableError(f"{type(model).__name__} has no MLP whose pre-activations are known")
    objective, items = context.objective, context.items(TOKENS)
    changed, total = [0] * len(gates), [0] * len(gates)
    for place, part in enumerate(items.split(objective.micro_batch)):
        signs: list[Tensor] = [torch.empty(0)] * len(gates)

        def keep(index: int, output: Tensor, signs: list[Tensor] = signs) -> None:
            signs[index] = _gated(gates[index][0], output) > 0

        def compare(index: int, output: Tensor, signs: list[Tensor] = signs) -> None:
            different = (_gated(gates[index][0], output) > 0) != signs[index]
            changed[index] += int(different.sum())
            total[index] += different.numel()

        modules = [module for _, module in gates]
        with hooked(modules, keep):
            objective.losses(part)
        for probe in range(PROBES):
            stream = seeds.generator(context.seed, "steps of embeddings", place, probe)
            handle = model.get_input_embeddings().register_forward_hook(
                lambda module, inputs, output, stream=stream: stepped(output, stream)
            )
            try:
                with hooked(modules, compare):
                    objective.losses(part)
            finally:
                handle.remove()
    return [part / whole / STEP for part, whole in zip(changed, total, strict=True)]


def stepped(embeddings: Tensor, stream: torch.Generator) -> Tensor:
    """Each embedding, (…, width), moved by STEP of its length in a random direction at right angles to it."""
    noise = torch.randn(embeddings.shape, generator=stream).to(embeddings)
    squares = embeddings.square().sum(dim=-1, keepdim=True)
    noise -= (noise * embeddings).sum(dim=-1, keepdim=True) / squares.clamp_min(1e-30) * embeddings
    moved: Tensor = embeddings + STEP * noise * squares.sqrt() / noise.norm(dim=-1, keepdim=True)
    return moved


def _gate(layer: nn.Module) -> tuple[str, nn.Module] | None:
    """The linear layer before the nonlinearity of a layer's MLP; None where there are experts or none is known."""
    if any("expert" in name for name, _ in layer.named_modules()):
        return None
    by_name = {name.rpartition(".")[2]: module for name, module in layer.named_modules()}
    return next(((name, by_name[name]) for name in GATES if name in by_name), None)


def _gated(name: str, output: Tensor) -> Tensor:
    if name != "gate_up_proj":
        return output
    half: Tensor = output.chunk(2, dim=-1)[0]
    return half


def _regions(context: MeasureContext) -> dict[str, float | None]:
    """LC and local rank of a network with ReLU whose first input is numbers."""
    objective, items = context.objective, context.items(ITEMS * OTHER_ITEM)
    objective.micro_batch = len(items)
    net = ReluNetwork.called_by(context.model, lambda: objective.losses(items))
    step = SHORT * math.sqrt(float(net.points.double().square().mean()) * net.points[0].numel())
    if not step > 0:
        raise NotApplicableError("all inputs are zero")
    stream = seeds.generator(context.seed, "directions of inputs")
    densities = torch.stack([region_density(net.signs, net.points, step, stream) for _ in range(DIRECTIONS)]).mean(
        dim=0
    )
    return {
        "local_complexity": float(densities.mean()),
        "local_complexity_stderr": float(densities.std() / math.sqrt(len(densities))),
        "local_rank": net.local_rank(net.points[:: max(1, len(net.points) // RANKED)][:RANKED]),
    }


def _on_a_line() -> ExactAnswer:
    """One hidden layer: as many kinks as neurons, wherever they are in [0, 1]."""
    stream = torch.Generator().manual_seed(0)
    kinks = 0.1 + 0.8 * torch.rand(17, generator=stream)
    points = torch.rand((200_000, 1), generator=stream)
    densities = region_density(lambda x: x > kinks, points, 0.01, stream)
    return _answer("∫ local complexity, 17 neurons on a line", 17.0, densities)


def _in_the_plane() -> ExactAnswer:
    """One hidden layer: the lengths of its lines in a disc of radius 3."""
    stream = torch.Generator().manual_seed(1)
    normals = torch.nn.functional.normalize(torch.randn((12, 2), generator=stream), dim=1)
    offsets = 4 * torch.rand(12, generator=stream) - 2
    around = torch.randn((200_000, 2), generator=stream)
    radius = 3 * torch.rand((200_000, 1), generator=stream).sqrt()
    points = radius * torch.nn.functional.normalize(around, dim=1)
    densities = region_density(lambda x: x @ normals.T > offsets, points, 0.03, stream) * 9 * math.pi
    return _answer("∫ local complexity, 12 lines in a disc", float(2 * (9 - offsets.square()).sqrt().sum()), densities)


def _of_random_layers() -> ExactAnswer:
    """Layers of Gaussian weights."""
    stream = torch.Generator().manual_seed(2)
    points = torch.randn((2000, 32), generator=stream)
    moved = stepped(points, stream)
    weights = torch.randn((2000, 32, 256), generator=stream)
    changed = ((points[:, None] @ weights > 0) != (moved[:, None] @ weights > 0)).double().mean(dim=(1, 2)) / STEP
    return _answer("sign changes per relative step, Gaussian layers", random_density(STEP), changed)


def _through_three() -> ExactAnswer:
    """A network that is active everywhere, through a layer of three."""
    stream = torch.Generator().manual_seed(3)
    widths = (6, 3, 5)
    layers = [nn.Linear(before, after) for before, after in pairwise(widths)]
    with torch.no_grad():
        for layer in layers:
            layer.weight.copy_(torch.rand(layer.weight.shape, generator=stream))
            layer.bias.fill_(10.0)
    model = nn.Sequential(*(module for layer in layers for module in (layer, nn.ReLU())))
    points = torch.rand((8, 6), generator=stream)
    rank = ReluNetwork(model, model, points).local_rank(points)
    return ExactAnswer(case="local rank through a layer of 3", truth=3.0, value=rank or 0.0, tolerance=0.0)


def _answer(case: str, truth: float, values: Tensor) -> ExactAnswer:
    error = float(values.std()) / math.sqrt(len(values))
    return ExactAnswer(case=case, truth=truth, value=float(values.mean()), tolerance=4 * error)
