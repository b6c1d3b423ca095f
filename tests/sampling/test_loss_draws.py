"""Losses at draws: what is refused, and what parts of them there are."""

from typing import Any

import pytest
import torch

from hf_llc.sampling.loss_draws import LossDraws


def draws(groups: int = 4, length: int = 2, items: int = 3, weights: bool = True, **changes: Any) -> LossDraws:
    rises = torch.randn(groups, length, items, generator=torch.Generator().manual_seed(0))
    values: dict[str, Any] = {
        "rises": rises,
        "anchors": torch.ones(items),
        "loss_rises": rises.mean(-1),
        "log_weights": -rises.mean(-1) if weights else None,
        "n_beta": 10.0,
        "gamma": 5.0,
        "n": 100,
    }
    return LossDraws(**{**values, **changes})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rises": torch.zeros(4, 2)}, r"rises must have the shape .*, got \(4, 2\)"),
        ({"anchors": torch.zeros(2)}, r"anchors must have the shape \(3,\), got \(2,\)"),
        ({"loss_rises": torch.zeros(2, 4)}, r"loss_rises must have the shape \(4, 2\), got \(2, 4\)"),
        ({"log_weights": torch.zeros(4)}, r"log_weights must have the shape \(4, 2\), got \(4,\)"),
        ({"anchors": torch.tensor([1.0, torch.inf, 0.0])}, "anchors must be finite"),
        ({"rises": torch.full((4, 2, 3), torch.nan)}, "rises must be finite"),
        ({"gamma": -3.0}, r"gamma must be ≥ 0, got -3.0"),
        ({"n_beta": torch.nan}, "n_beta must be ≥ 0, got nan"),
    ],
)
def test_what_cannot_be_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        draws(**changes)


def test_too_few_draws_to_differ_are_refused() -> None:
    with pytest.raises(ValueError, match="at least 2 independent groups of draws, got 1"):
        draws(1)
    with pytest.raises(ValueError, match="a chain must have at least 2 draws, got 1"):
        draws(4, 1, weights=False)


def test_the_prior_is_had_from_its_own_draws_alone() -> None:
    prior = draws().equally_weighted()
    assert prior.log_weights is not None
    assert not prior.log_weights.any()
    with pytest.raises(ValueError, match="needs draws of the localizing prior"):
        draws(weights=False).equally_weighted()


def test_classes_are_means_of_their_items() -> None:
    every = draws()
    grouped = every.classes([1, 0, 1])
    torch.testing.assert_close(grouped.rises[..., 0], every.rises[..., 1].double())
    torch.testing.assert_close(grouped.rises[..., 1], every.rises[..., [0, 2]].double().mean(-1))
    assert grouped.anchors.tolist() == [1, 1]
    with pytest.raises(ValueError, match="class 1 has no item"):
        every.classes([0, 0, 2])
    with pytest.raises(ValueError, match="a label for each of the 3 items, got 2"):
        every.classes([0, 1])


def test_halves_share_no_draw() -> None:
    parts = draws(5).halves()
    assert parts is not None
    assert [len(part.rises) for part in parts] == [3, 2]
    whole = draws(5)
    torch.testing.assert_close(parts[1].rises, whole.rises[1::2])
    assert parts[1].log_weights is not None
    chain = draws(1, 5, weights=False)
    halves = chain.halves()
    assert halves is not None
    torch.testing.assert_close(torch.cat([half.rises for half in halves], dim=1), chain.rises[:, [0, 1, 3, 4]])
    assert draws(3).halves() is None
    assert draws(1, 3, weights=False).halves() is None
