"""Every option of every command with values that cannot be meant: one line and exit code 2, before anything is read."""

from importlib import import_module
from typing import Any

import pytest
import typer

from tests.helpers.command_line import Run, refused

ARGUMENTS: dict[str, list[str]] = {
    "estimate": ["none/such"],
    "scan": ["none/such"],
    "calibrate": ["none/such"],
    "revisions": ["none/such"],
    "components": ["none/such"],
    "recipes": [],
    "show": ["none"],
    "report": ["none"],
    "merge": ["none", "--output-dir", "whole"],
    "compare": ["none", "none"],
    "influence": ["none"],
    "susceptibilities": ["none"],
    "fluctuation": ["none"],
    "publish": ["none", "--yes"],
    "validate": [],
    "demo": [],
}
WORDS = {"'int'": ["1e5", f"-{10**30}"], "'float'": ["nan", "1e400", "-1e300"]}
"""What is no value of any number of this kind; every other option is given nothing at all."""
PART = {"--step-map", "--settings", "--output-dir"}


def options_of(command: str) -> list[Any]:
    """The options of a command that take a value."""
    result: Any = typer.main.get_command(import_module("hf_llc.cli.app").app)
    return [each for each in result.commands[command].params if each.opts[0].startswith("-") and not each.is_flag]


def test_no_command_is_left_out() -> None:
    result: Any = typer.main.get_command(import_module("hf_llc.cli.app").app)
    assert set(ARGUMENTS) == set(result.commands) - {"worker"}


@pytest.mark.parametrize("command", ARGUMENTS)
def test_no_option_takes_what_cannot_be_meant(run: Run, command: str) -> None:
    for option in options_of(command):
        name = max(option.opts, key=len)
        kind = str(option.type_descriptor.annotation)
        for word in next((result for known, result in WORDS.items() if known in kind), [""]):
            arguments = [each for each in ARGUMENTS[command] if each not in (name, "whole" if name in PART else "")]
            line = refused(run(command, *arguments, name, word), 2, "")
            assert name.lstrip("-").replace("-", "_") in line.replace("-", "_"), (name, word, line)
