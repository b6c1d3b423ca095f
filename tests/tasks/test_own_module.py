"""A user's own module and loss: exact answers, one run for one call, and what is refused."""

import copy
import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional

import hf_llc
from hf_llc.errors import HfLlcError, SettingsError, UnusableError
from hf_llc.measures.llc.validation.exact import quadratic_llc

CURVATURES = torch.tensor([8.0, 2.0, *[0.3] * 20])
POWERS = torch.tensor([2.0, 4.0, 6.0])
ITEMS = torch.zeros(100, 1)


class Weights(torch.nn.Module):
    """Some weights at 0."""

    def __init__(self, count: int) -> None:
        super().__init__()
        self.w = torch.nn.Parameter(torch.zeros(count))


def quadratic(module: Any, items: Tensor) -> Tensor:
    loss: Tensor = (CURVATURES * module.w**2 / 2).sum()
    return loss.expand(len(items))


def monomials(module: Any, items: Tensor) -> Tensor:
    loss: Tensor = (module.w.abs() ** POWERS).sum()
    return loss.expand(len(items))


def classifier() -> tuple[torch.nn.Module, tuple[Tensor, Tensor]]:
    """A small net with dropout and batch norm, and its items."""
    torch.manual_seed(0)
    layers = [
        torch.nn.Linear(4, 8),
        torch.nn.BatchNorm1d(8),
        torch.nn.Tanh(),
        torch.nn.Dropout(),
        torch.nn.Linear(8, 3),
    ]
    return torch.nn.Sequential(*layers), (torch.randn(64, 4), torch.randint(3, (64,)))


def cross_entropy(module: Any, batch: tuple[Tensor, Tensor]) -> Tensor:
    return functional.cross_entropy(module(batch[0]), batch[1], reduction="none")


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_a_quadratic_loss_has_its_exact_coefficient() -> None:
    result = hf_llc.estimate(Weights(22), ITEMS, losses=quadratic, n_beta=100.0, gamma=1000.0, device="cpu")
    truth = quadratic_llc(CURVATURES.tolist(), 100.0, 1000.0)
    assert result.llc is not None
    assert result.stderr is not None
    assert result.stderr < 0.1
    assert abs(result.llc - truth) < 3 * result.stderr
    assert (result.verdict, result.dataset.unit, result.settings.n) == ("converged", "nats per item", 100)


def test_monomials_have_the_sum_of_one_over_their_powers() -> None:
    result = hf_llc.estimate(
        Weights(3), ITEMS, losses=monomials, n_beta=1e4, gamma=0.1, draws=1500, sampler="baoab", device="cpu", threads=1
    )
    assert result.llc is not None
    assert result.stderr is not None
    assert result.stderr < 0.15
    assert abs(result.llc - (1 / 2 + 1 / 4 + 1 / 6)) < 3 * result.stderr


def test_the_module_stays_as_it_is_and_the_same_call_goes_on_with_its_run() -> None:
    module, items = classifier()
    before = {name: value.clone() for name, value in module.state_dict().items()}
    first = hf_llc.estimate(module, items, losses=cross_entropy, gamma=300.0, draws=4)
    assert module.training
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())
    assert all(parameter.grad is None for parameter in module.parameters())
    parts = {path: path.stat().st_mtime_ns for path in Path(first.run_dir).rglob("draws/*.json")}
    again = hf_llc.estimate(module, items, losses=cross_entropy, gamma=300.0, draws=4)
    assert (again.llc, again.run_dir) == (first.llc, first.run_dir)
    assert parts == {path: path.stat().st_mtime_ns for path in Path(first.run_dir).rglob("draws/*.json")}


def test_batch_norm_of_a_module_may_be_estimated_anew() -> None:
    module, items = classifier()
    result = hf_llc.estimate(module, items, losses=cross_entropy, gamma=300.0, draws=4, batch_norm="reestimated")
    with torch.no_grad():
        whole = copy.deepcopy(module).train()
        whole[3].eval()  # type: ignore[index]  # dropout
        expected = float(cross_entropy(whole, items).mean())
    assert result.init_loss == pytest.approx(expected, rel=1e-4)
    assert "1 layer normalizes by mean and variance over the n = 64 items" in result.choices["batch_norm"]


def test_batch_norm_without_running_statistics_is_named() -> None:
    _, items = classifier()
    module = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.BatchNorm1d(8, track_running_stats=False))
    for batch_norm in ("frozen", "reestimated"):
        with pytest.raises(UnusableError, match=r"Batch norm 1 normalizes by the statistics of its batch: set track_"):
            hf_llc.estimate(module, items, losses=cross_entropy, gamma=300.0, draws=4, batch_norm=batch_norm)


def test_structures_of_items_come_back_as_they_were_given() -> None:
    module, (x, y) = classifier()
    kinds: dict[str, tuple[Any, Callable[[Any, Any], Tensor]]] = {
        "tuple": ((x, y), cross_entropy),
        "mapping": ({"x": x, "y": y}, lambda m, batch: cross_entropy(m, (batch["x"], batch["y"]))),
        "tensor": (x, lambda m, batch: cross_entropy(m, (batch, y[:1].expand(len(batch))))),
    }
    results = {
        kind: hf_llc.estimate(module, items, losses=losses, gamma=300.0, draws=4)
        for kind, (items, losses) in kinds.items()
    }
    assert results["tuple"].llc == results["mapping"].llc
    assert results["tuple"].llc != results["tensor"].llc


def test_other_weights_items_or_losses_are_another_run() -> None:
    module, (x, y) = classifier()

    def run_dir(items: Any, losses: Callable[[Any, Any], Tensor]) -> str:
        return hf_llc.estimate(module, items, losses=losses, gamma=300.0, draws=4).run_dir

    folders = {run_dir((x, y), cross_entropy), run_dir((x + 1, y), cross_entropy)}
    folders.add(run_dir((x, y), lambda m, batch: 2 * cross_entropy(m, batch)))
    with torch.no_grad():
        next(module.parameters()).add_(1.0)
    folders.add(run_dir((x, y), cross_entropy))
    assert len(folders) == 4


class Scaled(torch.nn.Module):
    """A net with a number, a function and a buffer that no state dict has."""

    hidden: Tensor

    def __init__(
        self, scale: float = 1.0, function: Callable[[Tensor], Tensor] = torch.tanh, hidden: float = 1.0
    ) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layer = torch.nn.Linear(4, 3)
        self.scale, self.function = scale, function
        self.register_buffer("hidden", torch.tensor(hidden), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.scale * self.hidden * self.function(self.layer(x))


def scaled_loss(factor: float) -> Callable[[Any, Any], Tensor]:
    return lambda module, batch: factor * cross_entropy(module, batch)


def test_what_no_state_dict_or_source_shows_is_another_run() -> None:
    _, items = classifier()
    frozen = Scaled()
    frozen.layer.bias.requires_grad_(False)
    calls: list[tuple[torch.nn.Module, Callable[[Any, Any], Tensor]]] = [
        (Scaled(), cross_entropy),
        (Scaled(scale=3.0), cross_entropy),
        (Scaled(function=torch.sin), cross_entropy),
        (Scaled(hidden=3.0), cross_entropy),
        (frozen, cross_entropy),
        (Scaled(), scaled_loss(2.0)),
        (Scaled(), scaled_loss(5.0)),
    ]
    folders = {hf_llc.estimate(net, items, losses=fn, gamma=300.0, draws=4).run_dir for net, fn in calls}
    assert len(folders) == len(calls)
    assert hf_llc.estimate(Scaled(), items, losses=cross_entropy, gamma=300.0, draws=4).run_dir in folders


def test_threads_may_run_the_same_call() -> None:
    module, items = classifier()

    def run(name: str) -> float | None:
        return hf_llc.estimate(module, items, losses=cross_entropy, gamma=300.0, draws=4, output_dir=Path(name)).llc

    with ThreadPoolExecutor(3) as pool:
        assert len(set(pool.map(run, ["one", "two", "three"]))) == 1


def test_keys_of_a_mapping_come_back_as_they_were_given() -> None:
    module, (x, y) = classifier()
    items = {1: x, "1": y}
    result = hf_llc.estimate(module, items, losses=lambda m, b: cross_entropy(m, (b[1], b["1"])), gamma=300.0, draws=4)
    assert result.llc is not None


@pytest.mark.parametrize(
    ("module", "message"),
    [
        (torch.nn.Identity(), "parameters that require a gradient, and this Identity has none"),
        (torch.nn.LazyLinear(3), "initialized parameters: call this LazyLinear once"),
    ],
)
def test_modules_without_weights_are_refused(module: torch.nn.Module, message: str) -> None:
    with pytest.raises(UnusableError, match=message):
        hf_llc.estimate(module, ITEMS, losses=quadratic, gamma=300.0)


def test_chains_and_draws_agree() -> None:
    module, items = classifier()
    settings: dict[str, Any] = {"gamma": 2000.0, "device": "cpu", "threads": 1}
    draws = hf_llc.estimate(module, items, losses=cross_entropy, draws=16, sampler="importance", **settings)
    chains = hf_llc.estimate(module, items, losses=cross_entropy, sampler="sgld-lm", draws=100, **settings)
    assert None not in {draws.llc, chains.llc, draws.stderr, chains.stderr}
    error = ((draws.stderr or 0) ** 2 + (chains.stderr or 0) ** 2) ** 0.5
    assert abs((draws.llc or 0) - (chains.llc or 0)) < 3.5 * error


@pytest.mark.parametrize(
    ("losses", "message"),
    [
        (lambda m, b: cross_entropy(m, b).mean(), r"must return a tensor of shape \(64,\) for 64 items, got \(\)"),
        (lambda m, b: 3.0, r"of shape \(64,\) for 64 items, got 3.0"),
        (lambda m, b: cross_entropy(m, b) - cross_entropy(m, b).mean(), "must depend on each item alone"),
        (lambda m, b: cross_entropy(m, b) * torch.rand(1), "must not be random"),
        (lambda m, b: cross_entropy(m.train(), b), "must not be random|losses failed"),
    ],
)  # fmt: skip
def test_losses_that_are_none_are_refused(losses: Callable[[Any, Any], Tensor], message: str) -> None:
    module, items = classifier()
    with pytest.raises(UnusableError, match=message):
        hf_llc.estimate(module, items, losses=losses, gamma=300.0, draws=4)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model": "org/name"}, "model must be a torch.nn.Module where losses is given, got 'org/name'"),
        ({"losses": 3}, "losses must be a function"),
        ({"data": torch.zeros(1, 2)}, r"of the same length, 2 or more, got \[1\]"),
        ({"data": (torch.zeros(3), torch.zeros(4))}, r"of the same length, 2 or more, got \[3, 4\]"),
        ({"data": "text.jsonl"}, "data must be a tensor, or a tuple or mapping of tensors, got 'text.jsonl'"),
        ({"data": [1.0, 2.0]}, "tensors with a row an item, got 1.0"),
        ({"num_processes": 2}, "num_processes must be 1 for a module in memory, got 2"),
        ({"max_sequences": 5}, "pass fewer items"),
        ({"gama": 3.0}, "no setting gama"),
        ({"batch_size": 101}, "batch_size must be ≤ 100"),
    ],
)  # fmt: skip
def test_arguments_that_make_no_sense_are_refused(changes: dict[str, Any], message: str) -> None:
    arguments = {"model": Weights(22), "data": ITEMS, "losses": quadratic, "gamma": 1000.0, "n_beta": 100.0}
    with pytest.raises(SettingsError, match=message):
        hf_llc.estimate(**{**arguments, **changes})


def test_a_module_that_fails_raises_an_error_of_this_library() -> None:
    module, items = classifier()
    with pytest.raises(HfLlcError, match=r"losses failed \(RuntimeError: .*shapes cannot be multiplied"):
        hf_llc.estimate(module, (items[0][:, :3], items[1]), losses=cross_entropy, gamma=300.0)


def test_items_that_are_alike_at_the_beginning_do_not_hide_a_statistic_of_the_batch(tmp_path: Path) -> None:
    items = (torch.cat([torch.ones(20, 2), 5 * torch.randn(20, 2, generator=torch.Generator().manual_seed(0))]),)
    with pytest.raises(UnusableError, match="losses must depend on each item alone"):
        hf_llc.estimate(
            torch.nn.Linear(2, 1),
            items,
            losses=lambda net, rows: net(rows[0] / rows[0].norm(dim=1).max()).square().sum(1),
            output_dir=tmp_path,
        )


def test_an_item_whose_loss_is_not_finite_is_named(tmp_path: Path) -> None:
    x = torch.ones(20, 2)
    x[7] = math.nan
    with pytest.raises(UnusableError, match="losses must be finite at the weights given, got nan for item 7"):
        hf_llc.estimate(
            torch.nn.Linear(2, 1), (x,), losses=lambda net, rows: net(rows[0]).square().sum(1), output_dir=tmp_path
        )


def test_buffers_of_a_module_in_16_bits_are_computed_with_in_float32(tmp_path: Path) -> None:
    net = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.BatchNorm1d(3), torch.nn.Linear(3, 1)).half()
    x = torch.randn(40, 2, generator=torch.Generator().manual_seed(0))
    result = hf_llc.estimate(
        net,
        (x,),
        losses=lambda module, rows: module(rows[0]).square().sum(1),
        gamma=100.0,
        chains=2,
        draws=4,
        burn_in=4,
        lr=1e-3,
        checks=False,
        num_processes=1,
        output_dir=tmp_path,
    )
    assert result.llc is not None
