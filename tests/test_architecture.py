"""The floors: imports go down only, the numerics touch nothing outside, and no file names what it must not."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
NOUNS = {
    "addresses",
    "bounds",
    "checkpoints",
    "columns",
    "curve",
    "errors",
    "settings",
    "inputs",
    "machines",
    "resolved",
    "results",
    "plan",
    "profile",
    "observer",
    "records",
    "text_files",
    "typed",
    "sweep",
    "naming",
    "references",
    "selector",
    "sharding",
    "model_files",
    "view",
    "provenance",
    "publication",
    "published",
}
OUTSIDE = {
    "accelerate", "arviz_stats", "datasets", "filelock", "huggingface_hub", "jinja2", "markdown_it", "matplotlib",
    "numpy", "psutil", "pyarrow", "rich", "ruamel", "safetensors", "tensorboard", "tokenizers", "trackio",
    "transformers", "typer", "yaml",
}  # fmt: skip
SIDE_EFFECTS = {"os", "pathlib", "subprocess", "socket", "time", "datetime", "random", "tempfile", "io", "logging"}


def sources() -> dict[str, ast.Module]:
    """Every module of the package by its installed name."""
    found = {}
    for folder, package in (("hf_llc", "hf_llc"), ("cli", "hf_llc.cli")):
        for path in sorted((ROOT / folder).rglob("*.py")):
            parts = path.relative_to(ROOT / folder).with_suffix("").parts
            name = ".".join([package, *(part for part in parts if part != "__init__")])
            found[name] = ast.parse(path.read_text(encoding="utf-8"))
    return found


def imports(name: str, tree: ast.Module) -> set[str]:
    """Absolute names of all modules imported anywhere in a module, those under TYPE_CHECKING apart."""
    typing_only = {
        id(node)
        for test in ast.walk(tree)
        if isinstance(test, ast.If) and isinstance(test.test, ast.Name) and test.test.id == "TYPE_CHECKING"
        for node in ast.walk(test)
    }
    found = set()
    for node in ast.walk(tree):
        if id(node) in typing_only:
            continue
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(name.split(".")[: -node.level]) if node.level else ""
            module = ".".join(part for part in (base, node.module) if part)
            found |= {f"{module}.{alias.name}" for alias in node.names} | {module}
    return found


def floor(name: str) -> int | None:
    """The floor of one of our modules; None for anything else."""
    parts = name.split(".")
    if parts[0] != "hf_llc" or len(parts) == 1:
        return None
    if parts[1] == "cli":
        return 4
    if parts[1] == "adapters":
        return 2
    if parts[1] == "core":
        return 1
    return 0 if parts[1] in NOUNS else 3


MODULES = sources()


@pytest.mark.parametrize("name", [name for name in MODULES if floor(name) is not None])
def test_imports_go_down(name: str) -> None:
    here = floor(name)
    assert here is not None
    above = {other for other in imports(name, MODULES[name]) if (level := floor(other)) is not None and level > here}
    assert not above


@pytest.mark.parametrize("name", [name for name in MODULES if ".adapters." in name])
def test_adapters_do_not_know_the_numerics(name: str) -> None:
    assert not {other for other in imports(name, MODULES[name]) if other.startswith("hf_llc.core")}


@pytest.mark.parametrize("name", [name for name in MODULES if floor(name) in {0, 1}])
def test_nouns_and_numerics_use_no_outside_library(name: str) -> None:
    roots = {other.split(".")[0] for other in imports(name, MODULES[name])}
    assert not roots & OUTSIDE
    if floor(name) == 0:
        assert "torch" not in roots


@pytest.mark.parametrize("name", [name for name in MODULES if floor(name) == 1])
def test_numerics_touch_no_file_clock_or_process(name: str) -> None:
    roots = {other.split(".")[0] for other in imports(name, MODULES[name])}
    assert not roots & SIDE_EFFECTS


@pytest.mark.parametrize("name", [name for name in MODULES if floor(name) in {3, 4}])
def test_use_cases_reach_outside_libraries_through_adapters(name: str) -> None:
    allowed = {"typer", "rich"} if floor(name) == 4 else set()
    assert not {other.split(".")[0] for other in imports(name, MODULES[name])} & (OUTSIDE - allowed)


@pytest.mark.parametrize("name", MODULES)
def test_nobody_imports_click_beside_typer(name: str) -> None:
    found = imports(name, MODULES[name])
    assert not {other for other in found if other.split(".")[0] == "click" or other.startswith("typer._click")}


@pytest.mark.parametrize("name", MODULES)
def test_no_exception_is_caught_blindly(name: str) -> None:
    for node in ast.walk(MODULES[name]):
        if isinstance(node, ast.ExceptHandler):
            assert node.type is not None
            assert ast.unparse(node.type) not in {"Exception", "BaseException"} or any(
                isinstance(inner, ast.Raise) for inner in ast.walk(node)
            )


@pytest.mark.parametrize("name", MODULES)
def test_every_module_says_what_it_is(name: str) -> None:
    assert ast.get_docstring(MODULES[name])
