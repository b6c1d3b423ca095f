"""Names of settings in messages of the library, as the command line shows them."""

from importlib import import_module
from typing import Any

import pytest

FLAGS: Any = import_module("hf_llc.cli.flags")


@pytest.mark.parametrize(
    ("message", "shown"),
    [
        ("Lower `lr` or raise `gamma`.", "Lower --lr or raise --gamma."),
        ("use `dtype=float32`", "use --dtype float32"),
        ("leave out `config`", "leave out --dataset-config"),
        ("`hf auth login` and the word gamma stay", "`hf auth login` and the word gamma stay"),
    ],
)  # fmt: skip
def test_a_setting_in_backticks_becomes_its_option(message: str, shown: str) -> None:
    assert FLAGS.with_flags(message) == shown


def test_the_setting_that_breaks_a_rule_becomes_its_option() -> None:
    assert FLAGS.with_flag_of_rule("gamma must be ≥ 0, got -3.0") == "--gamma must be ≥ 0, got -3.0"
    assert FLAGS.with_flag_of_rule("settings.gamma must be a number") == "settings.gamma must be a number"
