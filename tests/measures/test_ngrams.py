"""n-gram models against sums over the whole vocabulary, and their divergence from a model's predictions."""

from itertools import pairwise

import pytest
import torch
from torch import Tensor

from hf_llc.measures.ngrams import NgramModels

VOCABULARY = 7


def dense(known: Tensor) -> tuple[Tensor, Tensor]:
    """p(w) and p(w|h) of every h, by the definition of Witten & Bell."""
    counts = torch.zeros(VOCABULARY, dtype=torch.float64)
    pairs = torch.zeros(VOCABULARY, VOCABULARY, dtype=torch.float64)
    for row in known.tolist():
        for token in row:
            counts[token] += 1
        for history, token in pairwise(row):
            pairs[history, token] += 1
    different = int((counts > 0).sum())
    frequencies = (counts + different / VOCABULARY) / (counts.sum() + different)
    followers = (pairs > 0).sum(dim=1, keepdim=True)
    weight = pairs.sum(dim=1, keepdim=True) + followers
    return frequencies, torch.where(weight > 0, (pairs + followers * frequencies) / weight.clamp_min(1), frequencies)


@pytest.fixture
def texts() -> tuple[Tensor, Tensor]:
    """Sequences without token 6, which the others have."""
    stream = torch.Generator().manual_seed(0)
    return torch.randint(0, 6, (4, 9), generator=stream), torch.randint(0, VOCABULARY, (5, 9), generator=stream)


def test_losses_are_those_of_the_probabilities_written_out(texts: tuple[Tensor, Tensor]) -> None:
    known, tried = texts
    frequencies, bigrams = dense(known)
    assert torch.allclose(bigrams.sum(dim=1), torch.ones(VOCABULARY, dtype=torch.float64))
    unigram, bigram = NgramModels.of(known, VOCABULARY).losses(tried)
    assert unigram == pytest.approx(-float(frequencies[tried[:, 1:]].log().mean()))
    assert bigram == pytest.approx(-float(bigrams[tried[:, :-1], tried[:, 1:]].log().mean()))


def test_divergences_are_sums_over_the_vocabulary(texts: tuple[Tensor, Tensor]) -> None:
    known, tried = texts
    frequencies, bigrams = dense(known)
    history = tried[:, :-1].flatten()
    stream = torch.Generator().manual_seed(1)
    model = torch.randn(len(history), VOCABULARY, generator=stream, dtype=torch.float64).log_softmax(dim=1)
    unigram, bigram = NgramModels.of(known, VOCABULARY).divergences(history, model)
    expected = (frequencies * (frequencies.log() - model)).sum(dim=1)
    torch.testing.assert_close(unigram, expected, rtol=1e-12, atol=1e-12)
    expected = (bigrams[history] * (bigrams[history].log() - model)).sum(dim=1)
    torch.testing.assert_close(bigram, expected, rtol=1e-12, atol=1e-12)
    assert 6 in history.tolist(), "a token that was never seen is a history as well"


def test_a_model_that_is_the_bigram_model_has_no_divergence_from_it(texts: tuple[Tensor, Tensor]) -> None:
    known, tried = texts
    frequencies, bigrams = dense(known)
    history = tried[:, :-1].flatten()
    models = NgramModels.of(known, VOCABULARY)
    assert models.divergences(history, bigrams[history].log())[1].abs().max() < 1e-12
    assert models.divergences(history, frequencies.log().expand(len(history), -1))[0].abs().max() < 1e-12
