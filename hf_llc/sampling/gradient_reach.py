"""Which weights the loss gives a gradient: others would be moved by the localizing prior alone."""

import torch

from hf_llc.sampling.objective import Objective, clear_gradients

LOOKED_AT = 16
"""Items tried before a tensor counts as out of reach: an expert of a mixture may get none of the first one's tokens."""


def tensors_without_gradient(objective: Objective) -> list[int]:
    """Positions of the tensors that none of the first LOOKED_AT items gives a gradient, be it one of zeros.

    Such are towers for images in a model that reads text, and weights whose only use is a choice (which tokens to look
    at, which expert to ask): that changes by jumps, of which no gradient tells.
    """
    positions = list(range(len(objective.parameters)))
    for item in range(min(objective.n, LOOKED_AT)):
        objective.losses_and_gradient(torch.tensor([item]))
        positions = [position for position in positions if objective.parameters[position].grad is None]
        if not positions:
            break
    clear_gradients(objective.parameters)
    return positions
