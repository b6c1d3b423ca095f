"""How densely the input space is cut by changes of sign of pre-activations.

Of language models: `sign_change_density`, the share of the MLP's (gate) pre-activations that change sign when each
embedding e_t moves by a random step of length h‖e_t‖, divided by h. It does not change when a layer is scaled and the
next one scaled back, and says nothing of kinks, which GELU and SiLU do not have. A linear layer of Gaussian weights has
arctan(h)/(πh), about 1/π, which stands beside it: below it, the model is smoother than a random one.

Of networks with ReLU, where a change of sign is a kink, as functions of the first input of numbers that they are called
with: `local_complexity`, the density of boundaries of activation regions at the data, from changes of sign along random
directions u of length 1,

    LC = E #{signs that change between x and x + h u} / (h c_d),   c_d = Γ(d/2) / (√π Γ((d+1)/2)),

and `local_rank`, the mean numerical rank of the Jacobian of the last hidden layer. A boundary that nothing further on
sees counts too. Directions that training makes weak count in that rank until they are lost in rounding, and weigh in
`local_effective_rank`, exp H(σ/Σσ) of the singular values σ, as little as they do in the layer.

Of language models whose MLPs have ReLU x is the embeddings of a sequence. LC is that of the neurons at one position,
mean over the positions that predict a token with a loss; the ranks are those of the last MLP at the last of them. LC is
per length of embeddings, whose scale is the model's own.

`smoothed_local_complexity` is the number of Patel & Montúfar (2024, arXiv 2412.18283), with Gaussian noise on biases:

    LC_σ = E Σ_i ‖∇z_i(x)‖ ρ_σ(z_i(x)),   ρ_σ the density of N(0, σ²),   ‖∇z_i‖ = √(π/2) E_v |v·∇z_i|, v ~ N(0, I),

at σ = 1, without the noise of earlier layers in z_i. It tends to LC as σ → 0, and does change when a layer is scaled
and the next one scaled back.

`total_variation` is E ‖∂f/∂x‖_F of the outputs f. Theirs bounds it by LC_σ, a Lipschitz constant and the tails of z.
The bound beside it is ours, with constants measured at the same inputs. In a chain of L layers of ReLUs, f sees of x
only h_l = relu(z_l), so that ‖∂f/∂x‖_F ≤ Σ_{i in l, z_i > 0} ‖∂f/∂h_i‖ ‖∇z_i‖. With Λ the largest ‖∂f/∂h_i‖ there
and Z the largest |z_i|, for which √(2πe) Z ρ_Z(z_i) ≥ 1, the mean over layers and inputs is

    E ‖∂f/∂x‖_F ≤ √(2πe) Λ Z LC_Z / L.
"""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from hf_llc.components.structure import layers_of
from hf_llc.measures.base import OTHER_ITEM, ExactAnswer, MeasureContext, NotApplicableError
from hf_llc.measures.layer_outputs import hooked
from hf_llc.measures.local_complexity_answers import known_answers, sampled_answer
from hf_llc.measures.relu_language_model import ReluLanguageModel
from hf_llc.measures.relu_network import ReluNetwork, numerical_ranks, region_density, smoothed_density, variation_bound
from hf_llc.measures.spectral_ranks import effective_rank
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
SIGMA = 1.0
"""σ of `smoothed_local_complexity`, in the units of pre-activations."""
SHORT = 1e-2
"""h of other inputs, in units of their root mean square distance from 0 in one coordinate."""
GATES = ("gate_proj", "gate_up_proj", "dense_h_to_4h", "c_fc", "fc_in", "fc1", "wi_0", "wi", "w1", "lin1", "up_proj")
"""Names of the linear layers whose outputs go through the nonlinearity of an MLP, in the order in which they are
looked for; of `gate_up_proj` the first half does."""


class LocalComplexity:
    """Sign changes of a language model, and activation regions of a network with ReLU."""

    needs = ()
    columns = (
        Column("sign_change_density", "number", "", "share of MLP pre-activations that change sign per relative step "
               "of the embeddings", "sign_change_null", True),
        Column("sign_change_null", "number", "", "`sign_change_density` of a layer of Gaussian weights"),
        Column("sign_change_densities", "numbers", "", "`sign_change_density` in each layer", entries="layer",
               panel="sign_change_density"),
        Column("local_complexity", "number", "1/input", "density of boundaries of activation regions at the data",
               has_panel=True),
        Column("local_complexity_stderr", "number", "1/input", "its standard error over items"),
        Column("local_rank", "number", "", "mean rank of the Jacobian of the last hidden layer", has_panel=True),
        Column("local_effective_rank", "number", "", "mean exp H(σ/Σσ) of the singular values of this Jacobian"),
        Column("smoothed_local_complexity", "number", "1/input", "`local_complexity` with Gaussian noise of σ = 1 on "
               "biases"),
        Column("total_variation", "number", "output/input", "mean ‖∂f/∂x‖_F of the outputs f", "total_variation_bound"),
        Column("total_variation_bound", "number", "output/input", "what it is at most, by local complexity; of "
               "`nn.Sequential` without branches"),
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
                **_regions_of_text(context),
            }
        return {**values, **_regions(context)}

    def exact_answers(self) -> Sequence[ExactAnswer]:
        """Kinks of nets on a line and in the plane, sign changes of Gaussian layers, ranks."""
        return [_of_random_layers(), *known_answers()]


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
    """Columns of a network with ReLU whose first input is numbers."""
    objective, items = context.objective, context.items(ITEMS * OTHER_ITEM)
    objective.micro_batch = len(items)
    few = items[:: max(1, len(items) // RANKED)][:RANKED]
    net = ReluNetwork.called_by(context.model, lambda: objective.losses(items))
    ranked = ReluNetwork.called_by(context.model, lambda: objective.losses(few))
    smoothed = smoothed_density(
        net.preactivations, net.points, SIGMA, seeds.generator(context.seed, "directions of derivatives"), DIRECTIONS
    )
    variation = ranked.output_slopes(ranked.points)
    return {
        **_complexity(context, net),
        **_local_ranks(ranked),
        "smoothed_local_complexity": float(smoothed.mean()),
        "total_variation": None if variation is None else float(variation[0].mean()),
        "total_variation_bound": None if variation is None else variation_bound(ranked, ranked.points, variation[1]),
    }


def _regions_of_text(context: MeasureContext) -> dict[str, float | None]:
    """LC and local ranks of a language model; empty where it has no ReLU."""
    objective, items = context.objective, context.items(TOKENS)
    assert isinstance(objective, LanguageObjective)
    ids, predicted = objective.tokens(items), objective.predicted()
    # A token is predicted at the position before it.
    predicting = predicted[items.to(predicted.device)].roll(-1, dims=1).to(ids.device)
    few = slice(None, None, math.ceil(len(items) / RANKED))
    rows, last = torch.arange(len(ids[few])), (predicting * torch.arange(ids.shape[1]).to(ids)).amax(dim=1)[few]
    try:
        net = ReluLanguageModel(context.model, ids, lambda values: values * predicting[..., None])
        ranked = ReluLanguageModel(context.model, ids[few], lambda values: values[rows, last])
    except NotApplicableError:
        return {}
    return {**_complexity(context, net, predicting.sum(dim=1)), **_local_ranks(ranked)}


def _complexity(context: MeasureContext, net: ReluNetwork, positions: Tensor | int = 1) -> dict[str, float | None]:
    """LC of a network, of each item divided by its number of positions, and its standard error over items."""
    step = SHORT * math.sqrt(float(net.points.double().square().mean()) * net.points[0].numel())
    if not step > 0:
        raise NotApplicableError("all inputs are zero")
    stream = seeds.generator(context.seed, "directions of inputs")
    draws = [region_density(net.signs, net.points, step, stream) for _ in range(DIRECTIONS)]
    densities = torch.stack(draws).mean(dim=0) / positions
    return {
        "local_complexity": float(densities.mean()),
        "local_complexity_stderr": float(densities.std() / math.sqrt(len(densities))),
    }


def _local_ranks(net: ReluNetwork) -> dict[str, float | None]:
    """Mean ranks of the Jacobian of the last hidden layer; None where it is too wide."""
    spectra = net.local_spectra(net.points)
    return {
        "local_rank": None if spectra is None else float(numerical_ranks(spectra).mean()),
        "local_effective_rank": None if spectra is None else sum(map(effective_rank, spectra)) / len(spectra),
    }


def _of_random_layers() -> ExactAnswer:
    """Layers of Gaussian weights."""
    stream = torch.Generator().manual_seed(2)
    points = torch.randn((2000, 32), generator=stream)
    moved = stepped(points, stream)
    weights = torch.randn((2000, 32, 256), generator=stream)
    changed = ((points[:, None] @ weights > 0) != (moved[:, None] @ weights > 0)).double().mean(dim=(1, 2)) / STEP
    return sampled_answer("sign changes per relative step, Gaussian layers", random_density(STEP), changed)
