"""Unigram and bigram models of a text, with the smoothing of Witten & Bell (1991)."""

from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor


@dataclass(frozen=True)
class NgramModels:
    """Probabilities of tokens, and of tokens after each token h.

    p(w|h) = (c(h, w) + T(h) p(w)) / (c(h) + T(h)), with T(h) the number of different tokens seen after h. Frequencies
    p(w) are mixed with 1/vocabulary in the same way.

    Attributes:
        frequencies: p, float64. pairs: h · vocabulary + w of the pairs that were seen, ascending.
        seen: c(h, w) of each pair. totals, followers: c(h) and T(h) of each token.
    """

    frequencies: Tensor
    pairs: Tensor
    seen: Tensor
    totals: Tensor
    followers: Tensor

    @classmethod
    def of(cls, known: Tensor, vocabulary: int) -> Self:
        """The models that count sequences, (n, length)."""
        counts = known.flatten().bincount(minlength=vocabulary).double()
        different = float((counts > 0).sum())
        frequencies = (counts + different / vocabulary) / (counts.sum() + different)
        pairs, seen = (known[:, :-1].long() * vocabulary + known[:, 1:]).unique(return_counts=True)
        histories = pairs // vocabulary
        totals = torch.zeros(vocabulary, dtype=torch.float64).index_add_(0, histories, seen.double())
        return cls(frequencies, pairs, seen.double(), totals, histories.bincount(minlength=vocabulary))

    def losses(self, tried: Tensor) -> tuple[float, float]:
        """The mean losses of both on the tokens but the first of each row of `tried`."""
        vocabulary = len(self.frequencies)
        history, token = tried[:, :-1].flatten().long(), tried[:, 1:].flatten().long()
        key = history * vocabulary + token
        place = torch.searchsorted(self.pairs, key).clamp(max=len(self.pairs) - 1)
        count = torch.where(self.pairs[place] == key, self.seen[place], 0.0)
        weight, followers = self.totals[history] + self.followers[history], self.followers[history]
        frequencies = self.frequencies[token]
        bigrams = torch.where(weight > 0, (count + followers * frequencies) / weight.clamp_min(1), frequencies)
        return -float(frequencies.log().mean()), -float(bigrams.log().mean())

    def divergences(
        self,
        history: Tensor,  # (positions,)
        log_model: Tensor,  # (positions, vocabulary): log q of what follows, of a model that knows all before
    ) -> tuple[Tensor, Tensor]:
        """KL(unigram ‖ q) and KL(bigram ‖ q) at each position, in nats, float64 on the CPU.

        p(·|h) is a share s(h) = T/(c + T) of p and little else: sums over the vocabulary are those with p, and a few
        terms of the tokens that were seen after h.
        """
        frequencies, history = self.frequencies, history.cpu().long()
        logs = frequencies.log()
        with_frequencies = (log_model @ frequencies.to(log_model)).cpu().double()
        position, token, count = self._followers_of(history)
        total = self.totals[history] + self.followers[history]
        share = torch.where(total > 0, self.followers[history] / total.clamp_min(1), 1.0)
        known, rest = count / total[position], share[position] * frequencies[token]
        picked = log_model[position.to(log_model.device), token.to(log_model.device)].cpu().double()

        def summed(terms: Tensor) -> Tensor:
            return torch.zeros(len(history), dtype=torch.float64).index_add_(0, position, terms)

        # Σ p(w|h) log p(w|h), first as if no token had been seen after h, then corrected for those that were.
        negative_entropy = share * (share.log() + frequencies @ logs)
        negative_entropy += summed((known + rest) * (known + rest).log() - rest * rest.log())
        cross = share * with_frequencies + summed(known * picked)
        return frequencies @ logs - with_frequencies, negative_entropy - cross

    def _followers_of(self, history: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Of every position the tokens seen after its history: the position, the token and c(h, w), in three rows."""
        counts = self.followers[history]
        position = torch.repeat_interleave(torch.arange(len(history)), counts)
        first = self.followers.cumsum(0) - self.followers
        within = torch.arange(len(position)) - torch.repeat_interleave(counts.cumsum(0) - counts, counts)
        place = first[history][position] + within
        return position, self.pairs[place] % len(self.frequencies), self.seen[place]
