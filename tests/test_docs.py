"""The documentation is current: generated pages are what they are made from, and what is quoted is what is printed."""

import ast
import contextlib
import io
import re
import textwrap
from collections.abc import Iterator
from dataclasses import fields
from importlib import import_module
from inspect import get_annotations
from pathlib import Path
from typing import Any

import pytest

from hf_llc import errors
from hf_llc.hub.publication import Publication
from hf_llc.measures.llc.validation.validate import Validation
from hf_llc.report.compare import Comparison
from hf_llc.results.calibration import Calibration, Flat, Pilot, StepPoint, SweepPoint
from hf_llc.results.curve import Curve
from hf_llc.results.estimate import ChainSummary, DatasetRecord, Diagnostics, Estimate
from hf_llc.sampling.samplers import SAMPLERS
from hf_llc.settings.resolved import ResolvedSettings
from hf_llc.settings.sampler import SamplerSettings
from tests.hub_server.environment import use_hub
from tests.reference import (
    CLI,
    COMMANDS,
    DOCS,
    GENERATED,
    README,
    RESULTS,
    ROOT,
    SETTINGS,
    cli_page,
    columns,
    help_of,
    measure_columns,
    written_columns,
    written_measure_columns,
)
from tests.settings_reference import SECTIONS, settings_page

PAGES = sorted(path for path in DOCS.rglob("*.md") if CLI not in path.parents)
TROUBLESHOOTING = DOCS / "troubleshooting.md"


@pytest.mark.parametrize("command", COMMANDS)
def test_the_page_of_a_command_is_what_help_prints_now(command: str) -> None:
    path = CLI / f"{command or 'index'}.md"
    assert path.read_text(encoding="utf-8") == cli_page(command), "run: python -m tests.reference"
    assert not command or f"hf-llc {command}" in help_of(command).partition("Examples:")[2]


def test_the_table_of_columns_is_what_is_written_to_files() -> None:
    assert written_columns() == columns(), "run: python -m tests.reference"


def test_the_tables_of_columns_of_measures_are_what_measures_say() -> None:
    assert written_measure_columns() == measure_columns(), "run: python -m tests.reference"


def test_the_settings_page_is_what_the_dataclasses_say() -> None:
    assert SETTINGS.read_text(encoding="utf-8") == settings_page(GENERATED), "run: python -m tests.reference"


def test_every_setting_has_a_meaning_and_every_option_that_is_named_exists() -> None:
    text, help_texts = SETTINGS.read_text(encoding="utf-8"), " ".join(map(help_of, COMMANDS))
    assert {section.kind for section in SECTIONS} >= {SamplerSettings, *SamplerSettings.__bases__}
    for section in SECTIONS:
        rows = text.partition(f"## `{section.kind.__name__}`")[2].partition("## `")[0]
        own = get_annotations(section.kind)
        for field in [each for each in fields(section.kind) if each.name in own]:
            cells = next(line for line in rows.splitlines() if line.startswith(f"| `{field.name}` |")).split(" | ")
            assert len(cells) == 6
            assert cells[5].strip(" |"), field.name
            assert re.search(rf"{re.escape(cells[3].strip('`'))}\b", help_texts) or not cells[3].startswith("`--")


def test_every_visible_command_has_a_page() -> None:
    listed = re.findall(r"^\W*([a-z]+)  ", help_of("").partition("Commands")[2], flags=re.MULTILINE)
    assert set(listed) == {command for command in COMMANDS if command}
    assert {path.stem for path in CLI.glob("*.md")} == {*listed, "index"}


def test_every_sampler_is_named_in_the_help_and_explained() -> None:
    assert all(name in help_of("estimate") for name in SAMPLERS)
    explained = (DOCS / "concepts/samplers.md").read_text(encoding="utf-8")
    assert all(f"| `{name}` |" in explained for name in SAMPLERS)


@pytest.mark.parametrize(
    "kind",
    [Estimate, ResolvedSettings, Diagnostics, DatasetRecord, ChainSummary, Curve, Calibration, SweepPoint, StepPoint,
     Flat, Pilot, Publication, Validation],
)  # fmt: skip
def test_every_key_of_a_result_is_documented(kind: type[Any]) -> None:
    text = RESULTS.read_text(encoding="utf-8")
    assert [field.name for field in fields(kind) if f"`{field.name}`" not in text] == []


def test_every_key_of_a_comparison_is_documented() -> None:
    kept = Comparison(names=(), curves=(), differences=(), apart=frozenset(), pictures=()).to_dict()
    assert all(f"`{name}`" in RESULTS.read_text(encoding="utf-8") for name in kept)


# What can go wrong.


def classes_of_errors() -> set[str]:
    return {kind.__name__ for kind in errors.KINDS.values()}


def test_every_class_of_error_has_its_section() -> None:
    headings = re.findall(r"^## (.*)$", TROUBLESHOOTING.read_text(encoding="utf-8"), flags=re.MULTILINE)
    assert set(re.findall(r"`(\w+Error)`", " ".join(headings))) == classes_of_errors()
    api = (DOCS / "reference/api/errors.md").read_text(encoding="utf-8")
    assert all(f"::: hf_llc.errors.{name}\n" in api for name in classes_of_errors())


def literals() -> Iterator[str]:
    """Every text in the code with `…` for what is filled in."""
    for path in [*ROOT.glob("hf_llc/**/*.py"), *ROOT.glob("cli/**/*.py")]:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.JoinedStr):
                yield "".join(str(part.value) if isinstance(part, ast.Constant) else "…" for part in node.values)
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield node.value


def test_every_message_that_is_explained_is_one_that_the_code_has() -> None:
    rows = re.findall(r"^\| `(.*?)` \| (.+) \|$", TROUBLESHOOTING.read_text(encoding="utf-8"), flags=re.MULTILINE)
    assert len(rows) > 50
    flags: Any = import_module("hf_llc.cli.flags")
    texts = [flags.with_flag_of_rule(" ".join(text.split())) for text in literals()]
    missing = [message for message, _ in rows if not any(is_part(message, text) for text in texts)]
    assert missing == []


def is_part(message: str, text: str) -> bool:
    """Whether the words of a message stand in a text in their order."""
    position = 0
    for part in (part.strip() for part in message.split("…")):
        position = text.find(part, position)
        if position < 0:
            return False
    return True


def test_a_message_that_the_code_does_not_have_is_seen() -> None:
    assert is_part("The … is gated: ask", "The … is gated: ask for access")
    assert not is_part("The … is barred: ask", "The … is gated: ask for access")


# What is shown.


def blocks(path: Path, mark: str) -> list[tuple[str, str]]:
    """Python blocks behind `<!-- mark -->` with the output below them."""
    result = re.findall(
        rf"<!-- {mark} -->\n```python\n(.*?)```\n\n```text\n(.*?)```", path.read_text(encoding="utf-8"), flags=re.DOTALL
    )
    return [(code, output) for code, output in result]


EXAMPLES = [(path, *block) for path in PAGES for block in blocks(path, "run")]


@pytest.mark.parametrize(("path", "code", "output"), EXAMPLES)
def test_a_quick_example_prints_what_stands_below_it(
    path: Path, code: str, output: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    use_hub(monkeypatch, "http://127.0.0.1:9", tmp_path / "hf_home")
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(code, str(path), "exec"), {})
    assert printed.getvalue() == output


def test_there_are_quick_examples() -> None:
    assert len(EXAMPLES) >= 4
    assert any("estimate(model, ids" in code for _, code, _ in EXAMPLES)


def python_blocks() -> list[str]:
    texts = [path.read_text(encoding="utf-8") for path in [README, *PAGES]]
    return [code for text in texts for code in re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)]


def test_every_python_block_is_python_of_names_that_exist() -> None:
    import hf_llc

    for code in python_blocks():
        names = {
            node.attr
            for node in ast.walk(ast.parse(textwrap.dedent(code)))
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "hf_llc"
        }
        assert all(hasattr(hf_llc, name) for name in names)


def commands_shown() -> list[list[str]]:
    """Every `hf-llc` command in a block of the documentation, as words."""
    texts = [path.read_text(encoding="utf-8").replace("\\\n", " ") for path in [README, *PAGES]]
    fenced = [block for text in texts for block in re.findall(r"^ *```(?:bash|text)\n(.*?)```", text, flags=BLOCK)]
    indented = re.findall(r"^    hf-llc .*$", texts[0], flags=re.MULTILINE)
    lines = [line.strip().removeprefix("$ ") for block in [*fenced, *indented] for line in block.splitlines()]
    return [line.partition(" #")[0].split() for line in lines if line.startswith("hf-llc ")]


BLOCK = re.DOTALL | re.MULTILINE


def test_every_command_and_option_that_is_shown_exists() -> None:
    commands = commands_shown()
    assert len(commands) > 40
    help_texts = {command: help_of(command) for command in COMMANDS if command}
    for result in commands:
        assert result[1] in help_texts, result
        for option in (word for word in result if word.startswith("--")):
            assert re.search(rf"{option}\b", help_texts[result[1]]), result


def test_the_readme_is_short_and_shows_the_two_commands_and_the_paper() -> None:
    text = README.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 180
    assert len(text.encode()) <= 10_000
    assert all(result in text for result in ("2308.12108", "make demo", "make test"))


def test_output_in_the_readme_is_that_of_the_guides() -> None:
    pages = "\n".join(path.read_text(encoding="utf-8") for path in PAGES)
    blocks = re.findall(r"```text\n(.*?)```", README.read_text(encoding="utf-8"), flags=re.DOTALL)
    lines = [line for block in blocks for line in block.splitlines() if re.search(r"\d\.\d", line)]
    assert len(lines) > 8
    numbers = [number for line in lines for number in re.findall(r"-?\d+\.\d+ ± \d+\.\d+", line)]
    assert [number for number in numbers if number not in pages] == []


def test_no_text_has_a_placeholder_for_the_owner_of_the_repository() -> None:
    for path in [README, ROOT / "CONTRIBUTING.md", *PAGES]:
        assert "OWNER" not in path.read_text(encoding="utf-8")


def test_every_link_to_a_file_leads_to_one() -> None:
    for path in [README, ROOT / "CONTRIBUTING.md", ROOT / "SECURITY.md", *DOCS.rglob("*.md")]:
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", path.read_text(encoding="utf-8")):
            value = {"demo_curve.png": ROOT / "model_cards/demo/llc/curve.png"}.get(Path(target).name)
            notebook = (path.parent / target).with_suffix(".ipynb")
            assert (path.parent / target).exists() or value or notebook.exists(), (path, target)


def test_every_path_of_the_repository_that_is_named_exists() -> None:
    for path in [README, ROOT / "CONTRIBUTING.md", ROOT / "SECURITY.md", *PAGES]:
        named = re.findall(r"`((?:hf_llc|cli|tests|docs|model_cards)/[\w./-]*)`", path.read_text(encoding="utf-8"))
        assert [name for name in named if not (ROOT / name).exists()] == [], path


JARGON = re.compile(
    r"\b(localisers?|honest\w*|left open|(?<!random )walks?|lives?|quiet\w*|none the less|the very)\b", re.IGNORECASE
)


def test_prose_has_no_words_of_our_own() -> None:
    for path in [README, ROOT / "CONTRIBUTING.md", *PAGES]:
        text = re.sub(r"^```.*?^```", "", path.read_text(encoding="utf-8"), flags=BLOCK)
        # What is generated takes the names of values from the help of options.
        prose = "" if text.startswith(GENERATED) else re.sub(r"`[^`]*`", "", text)
        assert JARGON.findall(prose) == [], path


def test_the_numbers_of_the_demo_are_those_that_its_card_shows() -> None:
    table = re.compile(r"^\|? ?(step\d+) +\|? *(\d+) \|? *([\d.]+) +\|? *(-?[\d.]+) ± ([\d.]+)", flags=re.MULTILINE)
    card = table.findall((ROOT / "model_cards/demo/README.md").read_text(encoding="utf-8"))
    shown = table.findall((DOCS / "quickstart.md").read_text(encoding="utf-8"))
    assert len(card) == 12
    assert shown == card
