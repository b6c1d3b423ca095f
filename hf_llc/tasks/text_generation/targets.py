"""Sequences of which some tokens are targets, as padded rows of token ids and labels."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

import torch
from torch import Tensor

from hf_llc.errors import counted
from hf_llc.tasks.text.encoding import token_ids
from hf_llc.tasks.text.tokenizer import TextTokenizer
from hf_llc.tasks.text_generation.chat_template import Rendered
from hf_llc.tasks.text_generation.head import IGNORED

IDS, LABELS = "input_ids", "labels"
"""Names of the tensors, both (n, longest) int32."""
AT_ONCE = 64
"""Sequences whose texts are given to the tokenizer together."""


@dataclass(kw_only=True)
class TargetTally:
    """What became of the sequences: how many were cut, how many were left out for want of a target, and how many have a
    token that holds the end of what is before the targets and their beginning. `targets` and `tokens` are in all."""

    kept: int = 0
    cut: int = 0
    cut_before: int = 0
    without: int = 0
    shared: int = 0
    targets: int = 0
    tokens: int = 0

    def remarks(self, loss_on: str, longest: int) -> list[str]:
        """Sentences that a reader of the numbers must know."""
        whose = "of all its tokens but the first" if loss_on == "all" else f"of its tokens of the {loss_on}"
        sentences = [
            f"The loss of a sequence is the mean {whose}: {self.targets / max(1, self.kept):.1f} of "
            f"{self.tokens / max(1, self.kept):.1f} tokens on average."
        ]
        if self.cut:
            sentences.append(f"{self.cut} of {self.kept} sequences are cut to {longest} tokens.")
        if self.cut_before:
            rows = counted(self.cut_before, "row")
            sentences.append(f"Left out: {rows} in which what counts begins behind token {longest}.")
        if self.without:
            sentences.append(f"Left out: {counted(self.without, 'row')} without a token of the {loss_on}.")
        if self.shared:
            sentences.append(
                f"In {self.shared} of {self.kept} sequences a token holds the end of the prompt and the beginning of "
                "the answer; it counts."
            )
        return sentences


def labelled_rows(
    texts: Iterable[Rendered],
    encoder: TextTokenizer,
    *,
    first: Sequence[int],
    eos_id: int | None,
    longest: int,
    limit: int,
    tally: TargetTally,
) -> Iterator[tuple[list[int], list[int]]]:
    """Token ids and labels of each text that has a target among its first tokens; nothing follows the last target.

    Args:
        first: ids put before a text that a template has not written. eos_id: the one that ends such a text.
        longest: tokens of a sequence at most. limit: sequences at most; 0 takes all. tally: filled in.
    """
    source = iter(texts)
    while part := list(islice(source, AT_ONCE)):
        for rendered, ids_of in zip(part, _encoded(part, encoder, longest), strict=True):
            ids, labels, shared = _labels(rendered, ids_of)
            if rendered.ends:
                ids, labels = [*first, *ids], [IGNORED] * len(first) + labels
                if eos_id is not None and ids[-1:] != [eos_id]:
                    ids, labels = [*ids, eos_id], [*labels, eos_id]
            labels[:1] = [IGNORED] * len(labels[:1])  # nothing predicts it
            if not _has_target(labels):
                tally.without += 1
                continue
            if not _has_target(labels[:longest]):
                tally.cut_before += 1
                continue
            tally.cut += _has_target(labels[longest:])
            last = max(index for index, label in enumerate(labels[:longest]) if label != IGNORED)
            ids, labels = ids[: last + 1], labels[: last + 1]
            tally.kept, tally.shared = tally.kept + 1, tally.shared + shared
            tally.tokens, tally.targets = tally.tokens + len(ids), tally.targets + sum(x != IGNORED for x in labels)
            yield ids, labels
            if limit and tally.kept >= limit:
                return


def tensors_of(rows: Sequence[tuple[list[int], list[int]]]) -> dict[str, Tensor]:
    """The rows padded on the right; a row is padded with its last token, which nothing looks at."""
    width = max(len(ids) for ids, _ in rows)
    return {
        IDS: torch.tensor([ids + ids[-1:] * (width - len(ids)) for ids, _ in rows], dtype=torch.int32),
        LABELS: torch.tensor([labels + [IGNORED] * (width - len(labels)) for _, labels in rows], dtype=torch.int32),
    }


def _encoded(
    rendered: Sequence[Rendered], encoder: TextTokenizer, longest: int
) -> Iterator[dict[str, list[int]]]:  # fmt: skip
    """The ids of each text and of its beginnings."""
    texts = [list(dict.fromkeys([each.text, *(text for part in each.parts for text in part)])) for each in rendered]
    ids = token_ids(encoder, (text for group in texts for text in group), enough=longest + 1)
    for group in texts:
        yield dict(zip(group, ids, strict=False))


def _labels(rendered: Rendered, ids_of: dict[str, list[int]]) -> tuple[list[int], list[int], bool]:
    """Ids and labels of a text, and whether a token holds the end of what is before a part and the part's beginning."""
    ids, shared = ids_of[rendered.text], False
    labels = [IGNORED] * len(ids)
    for before, after in rendered.parts:
        begin, end = _common(ids, ids_of[before]), _common(ids, ids_of[after])
        shared = shared or begin < min(len(ids_of[before]), len(ids))
        if end < min(len(ids_of[after]), len(ids)):
            end += 1  # the token holds the end of the part
        labels[begin:end] = ids[begin:end]
    return ids, labels, shared


def _common(ids: Sequence[int], others: Sequence[int]) -> int:
    """How many of the first ids are the same."""
    most = min(len(ids), len(others))
    if ids[:most] == others[:most]:
        return most
    return next(index for index in range(most) if ids[index] != others[index])


def _has_target(labels: Sequence[int]) -> bool:
    return any(label != IGNORED for label in labels)
