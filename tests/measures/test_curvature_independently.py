"""Trace, top and products of the Hessian against whole Hessians that others make: autograd's, and curvlinops'.

curvlinops is no dependency: it brings torchvision, with which transformers reads images in another way. For its half of
these tests: `pip install --no-deps curvlinops-for-pytorch backpack-for-pytorch einops einconv linear_operator
opt-einsum jaxtyping`.
"""

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from hf_llc import DataSettings, ModelSettings
from hf_llc.execution import planning
from hf_llc.execution.loaded_model import LoadedModel
from hf_llc.measures.curvature import trace_and_error
from hf_llc.sampling.objective import copy_of
from hf_llc.sampling.tuning.curvature import RELATIVE_PROBE, hessian_vector_, root_mean_square, spectrum
from tests.helpers.tiny_model import jsonl, save_tiny_model
from tests.measures.test_measures import SAMPLER, context_of

PARTS = {
    "text": ("*layers.0.mlp.dense_4h_to_h.bias", "*query_key_value.bias", "*final_layer_norm.*"),
    "texts": ("*layer.0.output.dense.bias", "classifier.*"),
    "masked": ("*layer.0.output.dense.bias", "*predictions.transform.dense.bias", "*predictions.transform.*LayerNorm*"),
    "image": ("*stages.1.*normalization.weight", "classifier.*"),
    "linear": ("*",),
}
"""Of a model for each task the weights that move: few enough for a whole Hessian."""
DIRECTIONS, PRODUCTS = 64, 100


def losses_of(kind: str, folder: Path, with_norms: bool) -> tuple[Any, nn.Module, Tensor]:
    """The objective of these weights, with those of norms among them or not; the model, and some items."""
    if kind == "text":
        (folder / "text.jsonl").write_text(jsonl(60))
        plan = planning.plan(
            ModelSettings(model=str(save_tiny_model(folder / "model"))),
            DataSettings(dataset=str(folder / "text.jsonl")),
            SAMPLER,
            output_dir=folder / "run",
        )
        bench = LoadedModel(plan, "cpu")
    else:
        bench = context_of(kind, folder).bench
    model = bench.model
    names = [name for name, _ in model.named_parameters()]
    chosen = {name for pattern in PARTS[kind] for name in names if Path(name).match(pattern)}
    moved = [
        parameter
        for name, parameter in model.named_parameters()
        if name in chosen and (with_norms or "norm" not in name.lower())
    ]
    objective: Any = bench.objective
    return objective.in_full().moving(moved), model, torch.arange(8)


def whole_hessian(objective: Any, model: nn.Module, batch: Tensor) -> Tensor:
    """By a backward pass through the gradient for each weight."""
    with torch.enable_grad(), sdpa_kernel(SDPBackend.MATH):
        loss = objective._item_losses(objective._rows(batch)).mean()
        slopes = flat(torch.autograd.grad(loss, objective.parameters, create_graph=True))
        rows = [flat(torch.autograd.grad(slope, objective.parameters, retain_graph=True)) for slope in slopes]
    return torch.stack(rows).detach()


def hessian_of_curvlinops(objective: Any, model: nn.Module, batch: Tensor) -> Tensor:
    """By its linear operator, applied to the identity."""
    pytest.importorskip("linear_operator")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        curvlinops = pytest.importorskip("curvlinops")

        class Losses(nn.Module):
            """Items to their losses."""

            def __init__(self) -> None:
                super().__init__()
                self.model = model

            def forward(self, rows: Tensor) -> Tensor:
                losses: Tensor = objective._item_losses(objective._rows(rows))
                return losses.unsqueeze(1)

        # Mean absolute error of what is positive, from 0: the mean loss.
        operator = curvlinops.HessianLinearOperator(
            Losses(),
            nn.L1Loss(),
            list(objective.parameters),
            [(batch, torch.zeros(len(batch), 1))],
            check_deterministic=False,
        )
        with sdpa_kernel(SDPBackend.MATH):
            hessian: Tensor = operator @ torch.eye(operator.shape[1])
            return hessian


def flat(tensors: Sequence[Tensor]) -> Tensor:
    return torch.cat([tensor.flatten() for tensor in tensors])


@pytest.mark.parametrize("hessian_by", [whole_hessian, hessian_of_curvlinops])
@pytest.mark.parametrize("kind", PARTS)
def test_trace_top_and_products_are_those_of_the_whole_hessian(kind: str, hessian_by: Any, tmp_path: Path) -> None:
    # Forward over backward, as curvlinops makes products, torch 2.13's are not symmetric in weights of LayerNorm.
    objective, model, batch = losses_of(kind, tmp_path, with_norms=hessian_by is whole_hessian)
    parameters = objective.parameters
    hessian = hessian_by(objective, model, batch)
    assert 15 < len(hessian) < 600
    assert torch.allclose(hessian, hessian.T, atol=1e-5 * float(hessian.abs().max()))
    curvatures = torch.linalg.eigvalsh(hessian.double())
    trace, stderr = trace_and_error(objective, batch, 0, DIRECTIONS)
    assert abs(trace - float(curvatures.sum())) < 4 * stderr
    assert stderr < 0.5 * float(curvatures.abs().sum())
    top = spectrum(objective, batch, 0, PRODUCTS).largest
    # From below: power iteration ends once it moves by less than 2 %, as it also does among curvatures that are close.
    assert 0.85 * float(curvatures.abs().max()) < top < 1.01 * float(curvatures.abs().max())
    stream = torch.Generator().manual_seed(0)
    vector = [torch.randn(each.shape, generator=stream) for each in parameters]
    length = float(flat(vector).norm())
    vector = [part / length for part in vector]
    expected = hessian @ flat(vector)
    anchors = copy_of(parameters)
    hessian_vector_(objective, anchors, batch, vector, RELATIVE_PROBE * root_mean_square(parameters))
    assert float((flat(vector) - expected).norm()) < 0.02 * float(expected.norm())
