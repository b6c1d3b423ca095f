"""Every measure gives the answers that are known in closed form."""

import pytest
import torch

from hf_llc.measures import MEASURES
from hf_llc.measures.base import Exact, ExactAnswer
from hf_llc.measures.entropy import relative_entropy
from hf_llc.measures.spectral_ranks import (
    effective_rank,
    random_effective_rank,
    random_stable_rank,
    singular_values,
    stable_rank,
)

NAMES = [name for name in MEASURES if name != "llc"]


@pytest.mark.parametrize("name", NAMES)
def test_known_answers_are_met(name: str) -> None:
    measure = MEASURES[name]
    assert isinstance(measure, Exact)
    answers = measure.exact_answers()
    assert answers
    assert [answer for answer in answers if not answer.is_met] == []


def test_an_answer_that_is_farther_off_than_its_tolerance_is_not_met() -> None:
    assert not ExactAnswer(case="", truth=1.0, value=1.2, tolerance=0.1).is_met
    assert not ExactAnswer(case="", truth=1.0, value=float("nan"), tolerance=0.1).is_met


def test_ranks_of_random_matrices_are_those_of_their_null() -> None:
    matrix = torch.randn((300, 120), generator=torch.Generator().manual_seed(0))
    values = singular_values(matrix)
    assert effective_rank(values) == pytest.approx(random_effective_rank(300, 120), rel=0.01)
    assert random_effective_rank(120, 300) == random_effective_rank(300, 120)
    assert stable_rank(values) == pytest.approx(random_stable_rank(300, 120), rel=0.1)
    square = singular_values(torch.randn((200, 200), generator=torch.Generator().manual_seed(1)))
    assert effective_rank(square) == pytest.approx(random_effective_rank(200, 200), rel=0.01)


def test_diffusion_entropy_at_a_relative_width_does_not_depend_on_scale() -> None:
    points = torch.randn((64, 16), generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    assert relative_entropy(50 * points) == pytest.approx(relative_entropy(points), abs=1e-9)
    assert relative_entropy(torch.ones((8, 3), dtype=torch.float64)) == 0
