"""The command reference of the README, made from `--help`; `python -m tests.reference` writes it."""

import os
import subprocess
import sys
from pathlib import Path

README = Path(__file__).parent.parent / "README.md"
BEGIN, END = "<!-- reference: begin -->", "<!-- reference: end -->"
COMMANDS = ("", "estimate", "scan", "calibrate", "revisions", "show", "publish", "validate", "demo")


def help_of(command: str) -> str:
    """What `hf-llc COMMAND --help` prints on a terminal of 100 columns."""
    plain = {**os.environ, "COLUMNS": "100", "NO_COLOR": "1", "TERM": "dumb"}
    words = [sys.executable, "-m", "hf_llc.cli", *command.split(), "--help"]
    shown = subprocess.run(words, capture_output=True, text=True, check=True, env=plain)
    text = shown.stdout.replace("python -m hf_llc.cli", "hf-llc")
    return "\n".join(line.rstrip() for line in text.strip().splitlines())


def reference() -> str:
    """The reference as Markdown, markers included."""
    parts = [f"### `{f'hf-llc {command}'.strip()}`\n\n```text\n{help_of(command)}\n```" for command in COMMANDS]
    return "\n\n".join([BEGIN, *parts, END])


def written() -> str:
    """The reference as the README has it, markers included."""
    text = README.read_text(encoding="utf-8")
    return text[text.index(BEGIN) : text.index(END) + len(END)]


if __name__ == "__main__":
    README.write_text(README.read_text(encoding="utf-8").replace(written(), reference()), encoding="utf-8")
