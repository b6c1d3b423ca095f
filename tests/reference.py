"""The generated parts of the README; `python -m tests.reference` writes them.

The command reference is what `--help` prints, the table of columns what `hf_llc.columns` says.
"""

import os
import subprocess
import sys
from pathlib import Path

from hf_llc.columns import table

README = Path(__file__).parent.parent / "README.md"
BEGIN, END = "<!-- reference: begin -->", "<!-- reference: end -->"
COLUMNS_BEGIN, COLUMNS_END = "<!-- columns: begin -->", "<!-- columns: end -->"
COMMANDS = (
    "", "estimate", "scan", "calibrate", "revisions", "show", "merge", "compare", "publish", "validate", "demo",
)  # fmt: skip


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


def columns() -> str:
    """The table of columns as Markdown, markers included."""
    return "\n\n".join([COLUMNS_BEGIN, table(), COLUMNS_END])


def written(begin: str = BEGIN, end: str = END) -> str:
    """A generated part as the README has it, markers included."""
    text = README.read_text(encoding="utf-8")
    return text[text.index(begin) : text.index(end) + len(end)]


if __name__ == "__main__":
    for old, new in ((written(), reference()), (written(COLUMNS_BEGIN, COLUMNS_END), columns())):
        README.write_text(README.read_text(encoding="utf-8").replace(old, new), encoding="utf-8")
