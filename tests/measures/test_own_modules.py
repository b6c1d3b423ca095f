"""Measures of modules of a user's own, given with their loss."""

import json
import math
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

import hf_llc
from hf_llc.errors import SettingsError, UnusableError
from hf_llc.measures import MEASURES
from hf_llc.measures.local_complexity_answers import (
    kinks_on_a_segment,
    known_answers,
    layers_in,
    network,
    random_net,
)
from hf_llc.measures.relu_network import ReluNetwork, region_density, smoothed_density, variation_bound

APPLY = {"rank", "distances", "activations", "entropy", "noise-scale", "curvature", "quantisation", "local-complexity"}
"""Measures of a Sequential of linear layers and ReLUs."""


class Functional(nn.Module):
    """The layers of a Sequential, with ReLU as a function, also in place and as a method."""

    def __init__(self, net: nn.Sequential) -> None:
        super().__init__()
        self.first, self.second, self.third, self.last = (each for each in net if isinstance(each, nn.Linear))

    def forward(self, x: Tensor) -> Tensor:
        x = functional.relu(self.first(x))
        x = torch.relu(self.second(x))
        x = self.third(x).relu_()
        output: Tensor = self.last(x)
        return output


def sequential(inputs: int = 6, outputs: int = 1) -> nn.Sequential:
    widths = (inputs, 16, 12, 8, outputs)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        layers = [nn.Linear(before, after) for before, after in pairwise(widths)]
    return nn.Sequential(*(each for layer in layers[:-1] for each in (layer, nn.ReLU())), layers[-1])


def data(count: int = 300, inputs: int = 6) -> tuple[Tensor, Tensor]:
    x = torch.randn((count, inputs), generator=torch.Generator().manual_seed(1))
    return x, x[:, :1].sin()


def squared(net: Any, batch: tuple[Tensor, Tensor]) -> Tensor:
    x, y = batch
    loss: Tensor = (net(x) - y).square().sum(-1) / 2
    return loss


def measured(net: nn.Module, name: str, losses: Any = squared, items: Any = None) -> dict[str, Any]:
    return hf_llc.measure(net, data() if items is None else items, name, losses=losses, device="cpu")[name]


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_all_measures_that_apply_to_a_module_have_complete_records_and_leave_it_as_it_was() -> None:
    net = sequential()
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    told: list[str] = []

    class Listener(hf_llc.Observer):
        def tell(self, message: str) -> None:
            told.append(message)

    records = hf_llc.measure(
        net,
        data(),
        "all",
        losses=squared,
        device="cpu",
        gamma=300.0,
        draws=4,
        sampler="importance",
        observer=Listener(),
    )
    assert set(records) == APPLY | {"llc"}
    for name, record in records.items():
        assert set(record) == {column.name for column in MEASURES[name].columns}
        json.dumps(record, allow_nan=False)
        assert any(value is not None for value in record.values())
    assert [line for line in told if "left out" in line] == [
        "induction is left out: the loss is not of the next token.",
        "positions is left out: the loss is not of every token of packed text.",
    ]
    assert all(torch.equal(tensor, before[name]) for name, tensor in net.state_dict().items())
    assert net.training
    assert not any(parameter.grad is not None for parameter in net.parameters())


def test_llc_of_measure_is_that_of_estimate() -> None:
    settings: dict[str, Any] = {"losses": squared, "device": "cpu", "gamma": 300.0, "draws": 4, "sampler": "importance"}
    record = hf_llc.measure(sequential(), data(), **settings)["llc"]
    assert record["llc"] == hf_llc.estimate(sequential(), data(), **settings).llc


def test_relu_as_a_function_or_method_is_that_of_the_module() -> None:
    net = sequential()
    by_module, by_function = (measured(each, "local-complexity") for each in (net, Functional(net)))
    assert by_module["total_variation_bound"] > by_module["total_variation"] > 0
    # That nothing goes around the ReLUs of a module with a forward of its own is not known.
    assert by_function == {**by_module, "total_variation_bound": None}


def test_inputs_may_be_named_or_beside_others_or_single_numbers() -> None:
    net, (x, y) = sequential(), data()
    expected = measured(net, "local-complexity")

    class Named(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = net

        def forward(self, labels: Tensor, values: Tensor, scales: Tensor) -> Tensor:
            assert len(labels) == len(values) == len(scales)
            output: Tensor = self.net(values) * scales
            return output

    def named(module: Any, batch: tuple[Tensor, Tensor]) -> Tensor:
        values, targets = batch
        output = module(torch.zeros(len(values)).long(), values=values, scales=torch.ones(len(values), 1))
        loss: Tensor = (output - targets).square().sum(-1) / 2
        return loss

    assert measured(Named(), "local-complexity", named) == {**expected, "total_variation_bound": None}

    class Line(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = sequential(inputs=1)

        def forward(self, values: Tensor) -> Tensor:
            output: Tensor = self.net(values[:, None])
            return output

    line = measured(Line(), "local-complexity", items=(x[:, 0].contiguous(), y))
    same = measured(sequential(inputs=1), "local-complexity", items=(x[:, :1].contiguous(), y))
    assert line == {**same, "total_variation_bound": None}
    assert same["local_rank"] <= 1


def test_it_is_said_why_a_measure_does_not_apply_and_what_to_do() -> None:
    net, items = sequential(), data()
    of_ids = nn.Sequential(nn.Embedding(5, 4), nn.ReLU(), nn.Flatten(), nn.Linear(12, 1))
    ids = torch.randint(5, (40, 3), generator=torch.Generator().manual_seed(0))
    around: Any = lambda module, batch: (module[0](batch[0]).sum(-1) - batch[1][:, 0]).square()  # noqa: E731
    smooth = nn.Sequential(nn.Linear(6, 4), nn.Tanh(), nn.Linear(4, 1))
    cases: list[tuple[str, nn.Module, Any, Any, str]] = [
        ("local-complexity", net, around, items, "let `losses` call it, as in net(x)."),
        ("local-complexity", of_ids, squared, (ids, items[1][:40]), "the model has no input of numbers"),
        ("local-complexity", smooth, squared, items, "the model calls no ReLU."),
        (
            "activations",
            Functional(net),
            squared,
            items,
            "no single stack of layers, an nn.ModuleList or",
        ),
        ("induction", net, squared, items, "the loss is not of the next token."),
    ]
    for name, module, losses, given, reason in cases:
        with pytest.raises(UnusableError, match=rf"\A{name} does not apply: [^\n]+\Z") as raised:
            measured(module, name, losses, given)
        assert reason in str(raised.value)
    with pytest.raises(SettingsError, match=r"got a Sequential; of a module of your own, pass losses=… as well\.\Z"):
        hf_llc.measure(net, items, "rank")
    with pytest.raises(SettingsError, match="Settings of text, such as max_sequences, do not apply"):
        hf_llc.measure(net, items, "rank", losses=squared, max_sequences=3)


def test_states_are_those_of_hidden_layers_one_vector_an_item() -> None:
    net, (x, y) = sequential(), data(700)
    record = measured(net, "activations", items=(x, y))
    assert len(record["rankme_by_layer"]) == 3
    rows = torch.linspace(0, 699, 512, dtype=torch.float64).round().long()
    with torch.no_grad():
        values = torch.linalg.svdvals(net[:6](x[rows]).double())
    shares = values / values.sum()
    assert record["rankme"] == pytest.approx(float((-shares * shares.log()).sum().exp()), rel=1e-5)
    assert len(measured(net, "entropy", items=(x, y))["diffusion_entropies"]) == 3


def test_the_limit_of_the_curvature_is_not_that_of_a_trainer_in_the_working_directory() -> None:
    Path("trainer_state.json").write_text(
        json.dumps({"global_step": 1, "log_history": [{"step": 1, "learning_rate": 1e-3}]})
    )
    assert measured(sequential(), "curvature")["curvature_limit"] is None


def test_signs_do_not_change_with_the_scale_of_a_layer_and_the_smoothed_number_does() -> None:
    net = random_net((8, 16, 16), 0)
    points = torch.randn((256, 8), generator=torch.Generator().manual_seed(1), dtype=torch.float64)

    def numbers() -> tuple[Tensor, Tensor]:
        relus = ReluNetwork(net, net, points)
        first, second = (torch.Generator().manual_seed(seed) for seed in (2, 3))
        return region_density(relus.signs, points, 0.1, first), smoothed_density(
            relus.preactivations, points, 1.0, second, 4
        )

    flips, smoothed = numbers()
    with torch.no_grad():
        first, second = layers_in(net)
        for parameter in first.parameters():
            parameter.mul_(0.1)
        second.weight.div_(0.1)
    scaled_flips, scaled = numbers()
    assert torch.equal(flips, scaled_flips)
    assert float(scaled.mean()) != pytest.approx(float(smoothed.mean()), rel=0.05)


@pytest.mark.parametrize("seed", range(6))
def test_total_variation_is_below_its_bound_and_is_the_mean_size_of_gradients(seed: int) -> None:
    stream = torch.Generator().manual_seed(seed)
    net = nn.Sequential(*random_net((5, *(12,) * (seed % 3 + 1)), seed), nn.Linear(12, 2, dtype=torch.float64))
    points = torch.randn((16, 5), generator=stream, dtype=torch.float64)
    relus = network(net, points)
    slopes = relus.output_slopes(points)
    assert slopes is not None
    jacobians = torch.stack([torch.func.jacrev(net)(point) for point in points])
    assert slopes[0].tolist() == pytest.approx(jacobians.flatten(1).norm(dim=1).tolist())
    bound = variation_bound(relus, points, slopes[1])
    assert bound is not None
    assert float(slopes[0].mean()) <= bound
    # What goes around the ReLUs is not bounded by them.
    branch = nn.Sequential(Around(net))
    assert variation_bound(network(branch, points), points, slopes[1]) is None


class Around(nn.Module):
    """A net with a linear path beside it."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor) -> Tensor:
        output: Tensor = self.net(x) + 1000 * x[..., :2]
        return output


def test_the_bound_of_one_active_neuron_is_what_its_formula_says() -> None:
    """f = 3 relu(2 x) at x = 1 has ‖∂f/∂x‖ = 6, Λ = 3, Z = 2, and LC_Z = 2 ρ_2(2), so that the bound is tight."""
    net = nn.Sequential(nn.Linear(1, 1, bias=False), nn.ReLU(), nn.Linear(1, 1))
    with torch.no_grad():
        for layer, weight in zip(layers_in(net), (2.0, 3.0), strict=True):
            layer.weight.fill_(weight)
    points = torch.ones(1, 1)
    slopes = network(net, points).output_slopes(points)
    assert slopes is not None
    assert float(slopes[0]) == 6
    assert variation_bound(network(net, points), points, slopes[1]) == pytest.approx(6.0)


def test_kinks_are_counted_where_pieces_bend() -> None:
    net = random_net((1, 10, 10, 10), 1)
    points = torch.linspace(-1, 1, 400_001, dtype=torch.float64)[:, None]
    signs = network(net, points).signs(points)
    assert kinks_on_a_segment(net) == int((signs[1:] != signs[:-1]).sum()) == 18


def test_known_answers_are_those_of_the_definition() -> None:
    cases = [answer.case for answer in known_answers()]
    assert len(set(cases)) == len(cases) == 12
    assert math.isclose(sum(case.startswith("∫ LC_σ of") for case in cases), 3)
