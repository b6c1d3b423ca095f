"""The loss of every token that the model predicts."""

from collections.abc import Sequence
from typing import Protocol, cast

import torch
from torch import Tensor

from hf_llc.errors import UnusableError
from hf_llc.sampling.objective import Objective


class TokenObjective(Protocol):
    """An objective whose items consist of tokens that are predicted one by one."""

    def predicted(self) -> Tensor:
        """True for every token that has a loss, shape (n, length)."""
        ...

    def token_losses(self, indices: Tensor) -> Tensor:
        """The loss of every token of these items, in nats, shape (m, length); 0 for a token without one."""
        ...


class TokenLosses:
    """The cross-entropy of each predicted token; the mean over an item's tokens is the item's loss."""

    precision = torch.float16

    def values(self, objective: Objective) -> Tensor:
        """In nats, shape (predicted tokens of all items,), item by item."""
        tokens = _of_tokens(objective)
        return tokens.token_losses(torch.arange(objective.n))[tokens.predicted()]

    def positions(self, objective: Objective) -> Sequence[tuple[int, int | None]]:
        """A column a predicted token."""
        return [(int(item), int(place)) for item, place in _of_tokens(objective).predicted().nonzero().tolist()]


def _of_tokens(objective: Objective) -> TokenObjective:
    if not hasattr(objective, "token_losses"):
        raise UnusableError("keep token-losses is for text generation, whose items are predicted token by token.")
    return cast("TokenObjective", objective)


OBSERVABLE = TokenLosses()
