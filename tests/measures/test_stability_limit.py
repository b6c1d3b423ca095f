"""Up to which curvature SGD is stable, against torch's own SGD, and where that is not known."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from hf_llc.measures.stability_limit import stability_limit


def saved(folder: Path, optimizer: torch.optim.Optimizer) -> Path:
    """A folder with the optimizer's state as the Trainer keeps it."""
    folder.mkdir(exist_ok=True)
    torch.save(optimizer.state_dict(), folder / "optimizer.pt")
    return folder


def length_after(steps: int, curvature: float, **settings: Any) -> float:
    """|w| after SGD on ½ h w² from 1."""
    weight = torch.ones(1, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.SGD([weight], **settings)
    for _ in range(steps):
        optimizer.zero_grad()
        (0.5 * curvature * weight.square()).sum().backward()
        optimizer.step()
    return abs(float(weight.detach()))


@pytest.mark.parametrize(
    "settings",
    [
        {"lr": 0.1},
        {"lr": 0.1, "momentum": 0.9},
        {"lr": 0.02, "momentum": 0.9, "dampening": 0.5},
        {"lr": 0.1, "dampening": 0.5},
        {"lr": 0.1, "momentum": 0.9, "nesterov": True},
        {"lr": 0.1, "momentum": 0.5, "weight_decay": 3.0},
    ],
)
def test_sgd_converges_below_the_limit_and_not_above(settings: dict[str, Any], tmp_path: Path) -> None:
    limit = stability_limit(saved(tmp_path, torch.optim.SGD([torch.zeros(1)], **settings)))
    assert limit is not None
    assert length_after(3000, 0.99 * limit, **settings) < 1e-3
    assert length_after(3000, 1.01 * limit, **settings) > 1e3


def test_there_is_no_limit_of_adam_or_of_several_learning_rates(tmp_path: Path) -> None:
    weights = [torch.zeros(1), torch.zeros(1)]
    state = {"global_step": 1, "log_history": [{"step": 1, "learning_rate": 0.1}]}
    (tmp_path / "trainer_state.json").write_text(json.dumps(state))
    assert stability_limit(tmp_path) == 20
    for optimizer in (torch.optim.AdamW(weights), torch.optim.RMSprop(weights, momentum=0.5)):
        assert stability_limit(saved(tmp_path, optimizer)) is None
    groups = [{"params": weights[:1], "lr": 0.1}, {"params": weights[1:], "lr": 0.2}]
    assert stability_limit(saved(tmp_path, torch.optim.SGD(groups))) is None
    equal = [{"params": weights[:1], "weight_decay": 0.0}, {"params": weights[1:], "weight_decay": 1.0}]
    assert stability_limit(saved(tmp_path, torch.optim.SGD(equal, lr=0.1))) == pytest.approx(19)
    (tmp_path / "optimizer.pt").write_bytes(b"damaged")
    assert stability_limit(tmp_path) is None


@pytest.mark.parametrize(
    ("rates", "limit"),
    [
        ({100: 0.1, 200: 0.05}, 40.0),
        ({100: 0.1, 150: 0.05}, None),  # of a schedule, and not of that step
        ({100: 0.1, 150: 0.1}, 20.0),
        ({100: 0.1}, None),
        ({}, None),
    ],
)
def test_without_the_optimizer_the_learning_rate_is_that_of_the_step_of_the_checkpoint(
    rates: dict[int, float], limit: float | None, tmp_path: Path
) -> None:
    history = [{"step": step, "learning_rate": rate} for step, rate in rates.items()]
    state = {"global_step": 200, "log_history": [*history, {"step": 200, "eval_loss": 1.0}]}
    (tmp_path / "trainer_state.json").write_text(json.dumps(state))
    assert stability_limit(tmp_path) == limit
