"""Loss by position in the sequence, in-context learning, and n-gram models of the same text beside the model.

- Loss by position: the mean loss of the tokens at each position, over octaves of positions.
- In-context score (Olsson et al. 2022, arXiv 2209.11895): loss at a late position minus loss at an early one, token 500
  and 50 where the context is that long, else the last and a tenth of it; means over a tenth of the way around each.
  Its null is 0: a model that makes no use of what came before it.
- Unigram and bigram: the losses of models that count the tokens of every other sequence (`ngrams`), on the others. They
  are the same at every checkpoint; where the model's own loss on these sequences crosses them, it has learned as much.
- n-gram divergences KL(n-gram ‖ model) on these sequences, after the n-gram scores of Hoogland et al. (2024, arXiv
  2402.02364): how far the model's predictions are from those of token frequencies, and of frequencies after each token.
  They fall while the model learns them and rise once it knows better, mean and over octaves of positions.
"""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from hf_llc.measures.base import ExactAnswer, MeasureContext, NotApplicableError
from hf_llc.measures.ngrams import NgramModels
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
        Column("unigram_kl", "number", "nats per token", "KL of token frequencies from what the model predicts there"),
        Column("bigram_kl", "number", "nats per token", "KL of frequencies after each token from it", has_panel=True),
        Column("unigram_kl_by_position", "numbers", "nats per token", "`unigram_kl` in each octave of positions",
               entries="loss_positions", panel="bigram_kl"),
        Column("bigram_kl_by_position", "numbers", "nats per token", "`bigram_kl` in each octave of positions",
               entries="loss_positions", panel="bigram_kl"),
    )  # fmt: skip

    def run(self, context: MeasureContext) -> dict[str, Any]:
        """One forward pass, and one more of every other sequence."""
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
        ngrams = NgramModels.of(tokens[::2], context.vocabulary)
        unigram, bigram = ngrams.losses(tokens[1::2])
        divergences = [_by_octave(each, ends) for each in _divergences(ngrams, objective, items[1::2])]
        return {
            "in_context_score": float(score.mean()),
            "in_context_score_stderr": float(score.std() / math.sqrt(len(score))),
            "in_context_early": early,
            "in_context_late": late,
            "loss_positions": [float(end) for end in ends],
            "loss_by_position": _by_octave(losses[:, 1:], ends)[1],
            "text_loss": float(losses[1::2, 1:].mean()),
            "unigram_loss": unigram,
            "bigram_loss": bigram,
            "unigram_kl": divergences[0][0],
            "bigram_kl": divergences[1][0],
            "unigram_kl_by_position": divergences[0][1],
            "bigram_kl_by_position": divergences[1][1],
        }

    def exact_answers(self) -> Sequence[ExactAnswer]:
        """A Markov chain, whose entropy rate is the least loss of a bigram model."""
        stay, count, length = 0.9, 400, 257
        stream = torch.Generator().manual_seed(0)
        switches = (torch.rand((count, length), generator=stream) > stay).long()
        tokens = switches.cumsum(dim=1) % 2
        ngrams = NgramModels.of(tokens[::2], 2)
        unigram, bigram = ngrams.losses(tokens[1::2])
        chain = torch.tensor([[stay, 1 - stay], [1 - stay, stay]], dtype=torch.float64)
        history = tokens[1::2, :-1].flatten()
        from_chain = float(ngrams.divergences(history, chain.log()[history])[1].mean())
        from_uniform = float(ngrams.divergences(history, torch.full((len(history), 2), 0.5).double().log())[1].mean())
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
            # What counts are off by is of second order: two states, each seen 25,600 times.
            ExactAnswer(case="KL(bigram ‖ the states that stay with 0.9)", truth=0.0, value=from_chain, tolerance=4e-4),
            ExactAnswer(
                case="KL(bigram ‖ uniform), two states that stay with 0.9",
                truth=math.log(2) - rate,
                value=from_uniform,
                tolerance=4 * error,
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


def _by_octave(values: Tensor, ends: Sequence[int]) -> tuple[float, list[float]]:
    """The mean of values, (rows, positions from 1 on), and the means over octaves."""
    starts = [0, *ends[:-1]]
    return float(values.mean()), [float(values[:, start:end].mean()) for start, end in zip(starts, ends, strict=True)]


def _divergences(ngrams: NgramModels, objective: LanguageObjective, items: Tensor) -> list[Tensor]:
    """KL of both models from what the model predicts for each position but the first, (items, positions) each."""
    pairs = [ngrams.divergences(ids, logs) for ids, logs in objective.predictions(items)]
    length = objective.tokens(items[:1]).shape[1]
    return [torch.cat(each).view(len(items), length)[:, :-1] for each in zip(*pairs, strict=True)]
