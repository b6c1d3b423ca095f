"""Loops that ask for losses and gradients at their weights and are sent them, so that others may answer for several."""

from collections.abc import Generator
from typing import NamedTuple, TypeVar

from torch import Tensor

from hf_llc.core.objective import Objective, gradients

T = TypeVar("T")


class Ask(NamedTuple):
    """What is asked for at the weights as they are.

    Attributes:
        batch: item indices, (m,) int64. gradient: True if the gradient of their mean loss is wanted too.
    """

    batch: Tensor
    gradient: bool


class Answer(NamedTuple):
    """ℓ_i(w) in nats, (m,), and the gradient of their mean, a tensor per parameter; none if it was not asked for."""

    losses: Tensor
    gradients: list[Tensor]


Asks = Generator[Ask, Answer, T]
"""A loop that asks; what it returns is the result."""


def answer(ask: Ask, objective: Objective) -> Answer:
    """What the objective says at the weights that it holds."""
    if not ask.gradient:
        return Answer(objective.losses(ask.batch), [])
    losses = objective.losses_and_gradient(ask.batch)
    return Answer(losses, gradients(objective.parameters))


def answered(asks: Asks[T], objective: Objective) -> T:
    """The result of a loop whose weights are those of the objective."""
    ask = asked(asks, None)
    while isinstance(ask, Ask):
        ask = asked(asks, answer(ask, objective))
    return ask


def asked(asks: Asks[T], told: Answer | None) -> Ask | T:
    """What the loop asks for next, after it was told this (None at its beginning); its result if that was the last."""
    try:
        return next(asks) if told is None else asks.send(told)
    except StopIteration as end:
        result: T = end.value
        return result
