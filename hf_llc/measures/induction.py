"""Attention heads that look for what followed the last occurrence of a token (Olsson et al. 2022, arXiv 2209.11895).

Random tokens, a gap of random length, and the same tokens again: with a constant period, content could not be told from
distance. Attention weights are those of the model with eager attention.

- Prefix matching of a head: its mean attention from a token of the second copy to the token after the same token in the
  first. An induction head has 1, uniform attention 1/(i + 1) at position i, whose mean stands beside it.
- Previous token: the mean attention to the token before, over the same positions.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor

from hf_llc.measures.base import ExactAnswer, MeasureContext, NotApplicableError
from hf_llc.results.columns import Column
from hf_llc.sampling import seeds
from hf_llc.tasks.text_generation.objective import LanguageObjective

SEQUENCES, LONGEST, SHORTEST = 8, 64, 12
"""Random sequences, the most tokens in each, and the least."""


class PrefixMatching:
    """Scores of all heads, and the best of them."""

    needs = ()
    columns = (
        Column("induction_score", "number", "", "prefix-matching score of the best head", "induction_null", True),
        Column("induction_head", "text", "", "the head that has it"),
        Column("induction_null", "number", "", "both scores of uniform attention"),
        Column("previous_token_score", "number", "", "attention of the best head to the token before",
               "induction_null", True),
        Column("previous_token_head", "text", "", "the head that has it"),
        Column("induction_heads", "texts", "", "names of the heads"),
        Column("induction_scores", "numbers", "", "prefix-matching score of each of `induction_heads`",
               entries="induction_heads", panel="induction_score"),
    )  # fmt: skip

    def run(self, context: MeasureContext) -> dict[str, Any]:
        """One forward pass over random tokens."""
        if not isinstance(context.objective, LanguageObjective):
            raise NotApplicableError("the loss is not of the next token")
        length = min(LONGEST, context.plan.corpus.context_length)
        if length < SHORTEST:
            raise NotApplicableError(f"sequences have fewer than {SHORTEST} tokens")
        repeats = repeated(SEQUENCES, length, context.vocabulary, context.seed)
        attentions = _attentions(context.model, repeats.ids)
        scores = {
            f"l{layer}h{head}": (float(prefix), float(previous))
            for layer, weights in enumerate(attentions)
            for head, (prefix, previous) in enumerate(zip(*scores_of(weights, repeats), strict=True))
        }
        best = max(scores, key=lambda name: scores[name][0])
        before = max(scores, key=lambda name: scores[name][1])
        return {
            "induction_score": scores[best][0],
            "induction_head": best,
            "induction_null": float((1 / (repeats.positions + 1.0)).mean()),
            "previous_token_score": scores[before][1],
            "previous_token_head": before,
            "induction_heads": list(scores),
            "induction_scores": [prefix for prefix, _ in scores.values()],
        }

    def exact_answers(self) -> Sequence[ExactAnswer]:
        """Attention by hand: to the token after the same token, to the token before, and uniform."""
        repeats = repeated(4, 40, 1000, 0)
        count, length = repeats.ids.shape
        weights = torch.zeros((count, 3, length, length))
        for row, ids in enumerate(repeats.ids.tolist()):
            for position in range(1, length):
                same = [at for at in range(position) if ids[at] == ids[position]]
                weights[row, 0, position, same[-1] + 1 if same else 0] = 1
                weights[row, 1, position, position - 1] = 1
        weights[:, 2] = torch.ones(length, length).tril() / torch.arange(1.0, length + 1)[:, None]
        prefix, previous = scores_of(weights, repeats)
        uniform = float((1 / (repeats.positions + 1.0)).mean())
        cases = (
            ("prefix matching, induction head", 1.0, prefix[0]),
            ("prefix matching, previous-token head", 0.0, prefix[1]),
            ("previous token, previous-token head", 1.0, previous[1]),
            ("prefix matching, uniform attention", uniform, prefix[2]),
        )
        return [ExactAnswer(case=case, truth=truth, value=float(value), tolerance=1e-6) for case, truth, value in cases]


MEASURE = PrefixMatching()


class Repeats(NamedTuple):
    """Random sequences with a part that comes twice.

    Attributes:
        ids: (sequences, length). positions, targets: of each sequence positions of the second copy, and of what they
            should attend to, (sequences, looked at).
    """

    ids: Tensor
    positions: Tensor
    targets: Tensor


def repeated(sequences: int, length: int, vocabulary: int, seed: int) -> Repeats:
    """Sequences of different tokens, as far as the vocabulary has them, but for the part that comes twice."""
    stream = seeds.generator(seed, "repeated tokens")
    part = length // 3
    rows, positions, targets = [], [], []
    for _ in range(sequences):
        order = torch.randperm(vocabulary, generator=stream)
        drawn = order.repeat(-(-length // vocabulary))[:length]
        start = int(torch.randint(1, length - 2 * part, (), generator=stream))
        gap = int(torch.randint(0, length - 2 * part - start + 1, (), generator=stream))
        again = start + part + gap
        drawn[again : again + part] = drawn[start : start + part]
        rows.append(drawn)
        positions.append(torch.arange(again, again + part - 1))
        targets.append(torch.arange(start + 1, start + part))
    return Repeats(torch.stack(rows), torch.stack(positions), torch.stack(targets))


def scores_of(weights: Tensor, repeats: Repeats) -> tuple[Tensor, Tensor]:
    """Prefix-matching and previous-token scores, (heads,), of attention weights (sequences, heads, length, length)."""
    rows = torch.arange(len(weights))[:, None]
    prefix = weights[rows, :, repeats.positions, repeats.targets]
    previous = weights[rows, :, repeats.positions, repeats.positions - 1]
    return prefix.mean(dim=(0, 1)), previous.mean(dim=(0, 1))


def _attentions(model: Any, ids: Tensor) -> list[Tensor]:
    """Attention weights of each layer, on the CPU."""
    try:
        with _eager(model), torch.no_grad():
            output = model(
                input_ids=ids.to(next(model.parameters()).device), output_attentions=True, use_cache=False
            )  # fmt: skip
    except (ValueError, TypeError, AttributeError, NotImplementedError) as error:
        raise NotApplicableError(f"{type(model).__name__} gives no attention weights") from error
    weights = [each for each in getattr(output, "attentions", None) or () if isinstance(each, Tensor)]
    if not weights or any(each.dim() != 4 or each.shape[-1] != ids.shape[1] for each in weights):
        raise NotApplicableError(f"{type(model).__name__} gives no attention weights")
    return [each.float().cpu() for each in weights]


@contextmanager
def _eager(model: Any) -> Iterator[None]:
    """While the block runs, attention is computed such that its weights can be seen."""
    before = model.config._attn_implementation
    model.set_attn_implementation("eager")
    try:
        yield
    finally:
        model.set_attn_implementation(before)
