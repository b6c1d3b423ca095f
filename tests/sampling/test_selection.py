"""Which parameters move."""

import pytest

from hf_llc.errors import NotFoundError, SettingsError
from hf_llc.sampling.selection import select

NAMES = ["embed.weight", "layers.0.attention.weight", "layers.0.mlp.weight", "layers.1.attention.weight", "head.bias"]


def test_without_a_pattern_all_move() -> None:
    assert select(NAMES, []) == NAMES


def test_globs_match_whole_names_and_regular_expressions_anywhere() -> None:
    assert select(NAMES, ["*attention*"]) == [NAMES[1], NAMES[3]]
    assert select(NAMES, ["embed*"]) == [NAMES[0]]
    assert select(NAMES, [r"re:\.0\.(mlp|attention)"]) == NAMES[1:3]


def test_patterns_add_up_in_the_models_own_order() -> None:
    assert select(NAMES, ["head.*", "*mlp*", "*.0.*"]) == [NAMES[1], NAMES[2], NAMES[4]]


def test_a_pattern_that_matches_nothing_names_near_matches() -> None:
    with pytest.raises(
        NotFoundError, match=r"`params` layers.0.atention.weight matches no parameter; did you mean layers.0.attention"
    ):
        select(NAMES, ["*mlp*", "layers.0.atention.weight"])


def test_a_broken_regular_expression_is_said_to_be_one() -> None:
    with pytest.raises(SettingsError, match="is not a regular expression"):
        select(NAMES, ["re:("])
