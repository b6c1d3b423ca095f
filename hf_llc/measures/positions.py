"""Loss by position in the sequence, in-context learning, and n-gram models of the same text beside the model.

- Loss by position: the mean loss of the tokens at each position, over octaves of positions.
- In-context score (Olsson et al. 2022, arXiv 2209.11895): loss at a late position minus loss at an early one, token 500
  and 50 where the context is that long, else the last and a tenth of it; means over a tenth of the way around each.
  Its null is 0: a model that makes no use of what came before it.
- Unigram and bigram: the losses of models that count the tokens of every other sequence, with the smoothing of Witten &
  Bell (1991), on the others. They are the same at every checkpoint; where the model's own loss on these sequences
  crosses them, it has learned as much.
"""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from hf_llc.measures.base import ExactAnswer, MeasureContext, NotApplicableError
from hf_llc.results.columns import Column
from hf_llc.tasks.text_generation.objective import LanguageObjective

TOKENS = 4096
"""Tokens, about, whose losses are looked at."""
EARLY, LATE = 50, 500
"""Positions of the in-context score in long contexts."""


class LossByPosition:
    """Losses of tokens at w*."""

    needs = ()
    columns = (
        Column("in_context_score", "number", "nats per token", "loss at a late position minus loss at an early one",
               has_panel=True),
        Column("in_context_score_stderr", "number", "nats per token", "its standard error over sequences"),
        Column("in_context_early", "integer", "", "the early position, from 0"),
        Column("in_context_late", "integer", "", "the late position"),
        Column("loss_positions", "numbers", "", "last positions of octaves: 1, 2 to 3, 4 to 7, …"),
        Column("loss_by_position", "numbers", "nats per token", "mean loss in each octave of positions",
               entries="loss_positions", panel="in_context_score"),
        Column("text_loss", "number", "nats per token", "loss on the sequences that n-gram models are tried on",
               "bigram_loss", True),
        Column("unigram_loss", "number", "nats per token", "loss of token frequencies there"),
        Column("bigram_loss", "number", "nats per token", "loss of token frequencies after each token there"),
    )  # fmt: skip

    def run(self, context: MeasureContext) -> dict[str, Any]:
        """One forward pass."""
        objective = context.objective
        if not isinstance(objective, LanguageObjective) or context.plan.corpus.loss_on is not None:
            raise NotApplicableError("the loss is not of every token of packed text")
        items = context.items(TOKENS, least=8)
        losses = objective.token_losses(items).cpu().double()
        tokens = objective.tokens(items).cpu()
        length = losses.shape[1]
        late = min(LATE, length - 1)
        early = min(EARLY, max(1, length // 10))
        score = _around(losses, late) - _around(losses, early)
        ends = _octaves(length)
        unigram, bigram = ngram_losses(tokens[::2], tokens[1::2], context.vocabulary)
        return {
            "in_context_score": float(score.mean()),
            "in_context_score_stderr": float(score.std() / math.sqrt(len(score))),
            "in_context_early": early,
            "in_context_late": late,
            "loss_positions": [float(end) for end in ends],
            "loss_by_position": [
                float(losses[:, start : end + 1].mean())
                for start, end in zip([1, *(end + 1 for end in ends[:-1])], ends, strict=True)
            ],
            "text_loss": float(losses[1::2, 1:].mean()),
            "unigram_loss": unigram,
            "bigram_loss": bigram,
        }

    def exact_answers(self) -> Sequence[ExactAnswer]:
        """A Markov chain, whose entropy rate is the least loss of a bigram model."""
        stay, count, length = 0.9, 400, 257
        stream = torch.Generator().manual_seed(0)
        switches = (torch.rand((count, length), generator=stream) > stay).long()
        tokens = switches.cumsum(dim=1) % 2
        unigram, bigram = ngram_losses(tokens[::2], tokens[1::2], 2)
        rate = -stay * math.log(stay) - (1 - stay) * math.log(1 - stay)
        # The loss of a step is a constant plus log(0.9/0.1) where there is a switch.
        error = math.log(stay / (1 - stay)) * math.sqrt(stay * (1 - stay) / (count / 2 * (length - 1)))
        return [
            ExactAnswer(
                case="bigram loss, two states that stay with 0.9", truth=rate, value=bigram, tolerance=4 * error
            ),
            ExactAnswer(
                case="unigram loss, two states that stay with 0.9", truth=math.log(2), value=unigram, tolerance=2e-3
            ),
        ]


MEASURE = LossByPosition()


def _around(losses: Tensor, position: int) -> Tensor:
    """Mean loss of each sequence over positions within a tenth of the way around one."""
    reach = position // 10
    window: Tensor = losses[:, max(1, position - reach) : position + reach + 1].mean(dim=1)
    return window


def _octaves(length: int) -> list[int]:
    """Last positions of octaves: 1, 3, 7, …, and the last position."""
    ends = [2**power - 1 for power in range(1, (length - 1).bit_length() + 1)]
    return [min(end, length - 1) for end in ends]


def ngram_losses(known: Tensor, tried: Tensor, vocabulary: int) -> tuple[float, float]:
    """The losses of unigram and bigram models that count `known` on the tokens but the first of each row of `tried`.

    Smoothing (Witten & Bell 1991): what follows h has the probability (c(h, w) + T(h) p(w)) / (c(h) + T(h)), with T(h)
    the number of different tokens seen after h; frequencies p(w) are mixed with 1/vocabulary in the same way.
    """
    counts = known.flatten().bincount(minlength=vocabulary).double()
    different = float((counts > 0).sum())
    frequencies = (counts + different / vocabulary) / (counts.sum() + different)
    pairs, seen = (known[:, :-1].long() * vocabulary + known[:, 1:]).unique(return_counts=True)
    histories = pairs // vocabulary
    before = torch.zeros(vocabulary, dtype=torch.float64).index_add_(0, histories, seen.double())
    followers = histories.bincount(minlength=vocabulary).double()
    history, token = tried[:, :-1].flatten().long(), tried[:, 1:].flatten().long()
    key = history * vocabulary + token
    place = torch.searchsorted(pairs, key).clamp(max=len(pairs) - 1)
    count = torch.where(pairs[place] == key, seen[place], 0).double()
    weight = before[history] + followers[history]
    bigrams = torch.where(
        weight > 0, (count + followers[history] * frequencies[token]) / weight.clamp_min(1), frequencies[token]
    )
    return -float(frequencies[token].log().mean()), -float(bigrams.log().mean())
