"""Imports go down one list of packages, and never in a circle."""

import ast
from pathlib import Path

import pytest

PACKAGES = (
    "cli", "scans", "integrations", "measures", "execution", "tasks", "checkpoints", "components", "report", "hub",
    "sampling", "results", "settings", "errors",
)  # fmt: skip
"""From the top to the bottom: a module imports from its own package and from those after it."""

ROOT = Path(__file__).parent.parent


def modules() -> dict[str, ast.Module]:
    """Every module of the package by its installed name."""
    trees = {}
    for folder, package in (("hf_llc", "hf_llc"), ("cli", "hf_llc.cli")):
        for path in sorted((ROOT / folder).rglob("*.py")):
            parts = path.relative_to(ROOT / folder).with_suffix("").parts
            name = ".".join([package, *(part for part in parts if part != "__init__")])
            trees[name] = ast.parse(path.read_text(encoding="utf-8"))
    return trees


MODULES = modules()


def imported(name: str) -> set[str]:
    """Modules of ours that a module imports anywhere, those under TYPE_CHECKING apart."""
    typing_only = {
        id(node)
        for test in ast.walk(MODULES[name])
        if isinstance(test, ast.If) and isinstance(test.test, ast.Name) and test.test.id == "TYPE_CHECKING"
        for node in ast.walk(test)
    }
    names = set()
    for node in ast.walk(MODULES[name]):
        if id(node) in typing_only:
            continue
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            package = name if (ROOT / name.replace(".", "/") / "__init__.py").exists() else name.rpartition(".")[0]
            base = package.rsplit(".", node.level - 1)[0] if node.level else ""
            module = ".".join(part for part in (base, node.module) if part)
            names |= {f"{module}.{alias.name}" for alias in node.names} | {module}
    return names & MODULES.keys() - {name}


def package_of(name: str) -> str:
    """The entry of `hf_llc/` that a module belongs to; "" for `hf_llc` itself."""
    return name.removeprefix("hf_llc").removeprefix(".").partition(".")[0]


def test_the_list_is_what_the_folder_holds() -> None:
    entries = {path.stem for path in (ROOT / "hf_llc").iterdir() if path.name not in {"__pycache__", "py.typed"}}
    assert entries == {*PACKAGES, "__init__"} - {"cli"}


@pytest.mark.parametrize("name", [name for name in MODULES if name != "hf_llc"])
def test_imports_go_down(name: str) -> None:
    below = PACKAGES[PACKAGES.index(package_of(name)) :]
    assert {other for other in imported(name) if other != "hf_llc" and package_of(other) not in below} == set()


def test_imports_go_in_no_circle() -> None:
    left = {name: {other for other in imported(name) if not name.startswith(f"{other}.")} for name in MODULES}
    while ready := {name for name, others in left.items() if not others}:
        left = {name: others - ready for name, others in left.items() if name not in ready}
    # A package that names its modules' contents is imported by nobody else in it.
    assert {name: others for name, others in left.items() if name != "hf_llc"} == {}
