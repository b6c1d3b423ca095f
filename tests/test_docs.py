"""The README is current: every command is in its reference, as its help says it now."""

import re

from hf_llc.core.samplers import SAMPLERS
from tests.reference import COLUMNS_BEGIN, COLUMNS_END, COMMANDS, README, columns, help_of, reference, written


def test_the_reference_is_what_help_prints_now() -> None:
    assert written() == reference(), "run: python -m tests.reference"


def test_the_table_of_columns_is_what_is_written_to_files() -> None:
    assert written(COLUMNS_BEGIN, COLUMNS_END) == columns(), "run: python -m tests.reference"


def test_every_visible_command_is_in_the_reference() -> None:
    commands = help_of("").partition("Commands")[2]
    listed = re.findall(r"^\W*([a-z]+)  ", commands, flags=re.MULTILINE)
    assert set(listed) == {command for command in COMMANDS if command}


def test_every_command_shows_examples() -> None:
    for command in COMMANDS:
        assert not command or f"hf-llc {command}" in help_of(command).partition("Examples:")[2]


def test_every_sampler_is_named_in_the_help() -> None:
    assert all(name in help_of("estimate") for name in SAMPLERS)


def test_the_readme_cites_the_paper_and_shows_the_two_commands() -> None:
    text = README.read_text(encoding="utf-8")
    assert "2308.12108" in text
    assert "make demo" in text
    assert "make test" in text
