"""Rules that hold for every source file of the package."""

import ast

import pytest

from tests.test_architecture import MODULES


@pytest.mark.parametrize("name", MODULES)
def test_no_module_imports_click(name: str) -> None:
    """Typer brings a copy of its own, and another one beside it has other classes."""
    names = {alias.name for node in ast.walk(MODULES[name]) if isinstance(node, ast.Import) for alias in node.names}
    names |= {node.module or "" for node in ast.walk(MODULES[name]) if isinstance(node, ast.ImportFrom)}
    assert not {other for other in names if other.split(".")[0] == "click" or other.startswith("typer._click")}


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
