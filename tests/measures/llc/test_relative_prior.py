"""Function-preserving rescalings of a ReLU net: λ̂ moves with them under the isotropic prior, not under the relative."""

from copy import deepcopy
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import hf_llc
from hf_llc.errors import SettingsError, UnusableError
from hf_llc.report.comparability import differences
from hf_llc.results.curve import Curve

DRAWS: dict[str, Any] = {"n_beta": 50.0, "sampler": "importance", "chains": 4, "draws": 12}
CHAINS: dict[str, Any] = {"n_beta": 50.0, "chains": 2, "draws": 60, "burn_in": 20, "threads": 1, "checks": False}


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("matplotlib.figure.Figure.savefig", lambda figure, file, **options: file.write(b"blank"))


def data() -> tuple[Tensor, Tensor]:
    torch.manual_seed(1)
    inputs = torch.randn(128, 4)
    return inputs, inputs[:, :2].sin()


@cache
def trained() -> torch.nn.Sequential:
    """A two-layer ReLU net at a minimum; not to be changed."""
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(4, 16), torch.nn.ReLU(), torch.nn.Linear(16, 2))
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
    for _ in range(300):
        optimizer.zero_grad()
        losses(model, data()).mean().backward()
        optimizer.step()
    return model


def net(factor: float, *, zero_bias: bool = False) -> torch.nn.Module:
    """The trained net; `factor` multiplies the first layer and divides the second, which leaves its function."""
    model = deepcopy(trained())
    first, last = model[0], model[2]
    assert isinstance(first, torch.nn.Linear)
    assert isinstance(last, torch.nn.Linear)
    with torch.no_grad():
        first.weight.mul_(factor)
        first.bias.mul_(0.0 if zero_bias else factor)
        last.weight.div_(factor)
    return model


def losses(model: Any, batch: tuple[Tensor, Tensor]) -> Tensor:
    values: Tensor = (model(batch[0]) - batch[1]).square().sum(dim=1) / 2
    return values


def estimated(factor: float, **settings: Any) -> hf_llc.Estimate:
    return hf_llc.estimate(net(factor), data(), losses=losses, device="cpu", **settings)


@pytest.mark.parametrize(
    "sampled", [DRAWS, {**CHAINS, "sampler": "sgld-lm"}, {**CHAINS, "sampler": "baoab"}], ids=["draws", "lm", "baoab"]
)
def test_rescaling_moves_the_number_under_the_isotropic_prior_alone(sampled: dict[str, Any]) -> None:
    plain = estimated(1.0, prior="relative", gamma=100.0, **sampled)
    assert plain.llc is not None
    assert plain.stderr is not None
    assert plain.settings.prior == "relative"
    for factor in (1e-2, 1e2):
        other = estimated(factor, prior="relative", gamma=100.0, **sampled)
        assert other.llc is not None
        assert abs(other.llc - plain.llc) < 2 * plain.stderr
        # Common random numbers: what is left is rounding, which chains enlarge.
        assert other.llc == pytest.approx(plain.llc, rel=0.02)
    isotropic = [estimated(factor, gamma=1000.0, **sampled).llc for factor in (1.0, 10.0)]
    assert isotropic[0] is not None
    assert isotropic[1] is None or abs(isotropic[1] / isotropic[0] - 1) > 0.5


def test_an_open_gamma_is_chosen_alike_for_rescaled_nets() -> None:
    chosen = [estimated(factor, prior="relative", **DRAWS).settings.gamma for factor in (1.0, 1e-2, 1e2)]
    assert chosen[0] == pytest.approx(chosen[1], rel=0.03) == pytest.approx(chosen[2], rel=0.03)


def test_the_result_says_so_and_is_a_run_of_its_own() -> None:
    relative = estimated(1.0, prior="relative", gamma=100.0, **DRAWS)
    isotropic = estimated(1.0, prior="isotropic", gamma=100.0, **DRAWS)
    plain = estimated(1.0, gamma=100.0, **DRAWS)
    assert relative.choices["prior"].startswith("prior = relative: γ is divided by the mean square")
    assert "prior" not in isotropic.choices
    assert isotropic.run_dir == plain.run_dir != relative.run_dir
    sentences = differences(["a", "b"], [Curve.of_estimate(relative), Curve.of_estimate(isotropic)])
    assert "The localizing prior is relative for a, isotropic for b: γ has another unit in each." in sentences
    with pytest.raises(SettingsError, match="these differ: prior"):
        hf_llc.compare_paired(relative, isotropic)


def test_a_tensor_of_zeros_stays_where_it_is_and_a_net_of_zeros_is_refused() -> None:
    model = net(1.0, zero_bias=True)
    result = hf_llc.estimate(model, data(), losses=losses, prior="relative", gamma=100.0, **DRAWS)
    assert "0.bias are zero: without a size, they stay at w*" in result.choices["prior"]
    assert result.diagnostics.dimension == sum(each.numel() for each in model.parameters()) - 16
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
        model[2].bias.requires_grad_(False)  # type: ignore[index]
    with pytest.raises(UnusableError, match="all weights of Sequential that move are zero and have no size"):
        hf_llc.estimate(model, data(), losses=losses, prior="relative", gamma=100.0, **DRAWS)


def test_a_prior_that_is_none_is_refused() -> None:
    with pytest.raises(SettingsError, match="prior must be one of isotropic, relative, got 'flat'"):
        hf_llc.SamplerSettings(prior="flat")
