"""Names of parts of a model as a user writes them; which of them a model has, `hf_llc.components` knows."""

import re

from hf_llc.settings.bounds import require, shown

TOGETHER, APART = "+", ","
"""Joins components that move together; separates those that move one at a time."""
KINDS = ("heads", "groups", "keys-values", "attention", "mlps", "layers", "embeddings", "norms", "all")
"""Lists of components."""
FULL = "full"
"""The component that is all weights."""
_NAME = re.compile(r"l\d+(h\d+|g\d+|kv\d+|\.attn|\.mlp)?|embed|unembed|norms|full")


def check_component(text: str) -> None:
    """Raise SettingsError unless the text names a component, several joined by `+`, or a list of these and of kinds."""
    parts = [part for part in text.split(APART) if part not in KINDS]
    bad = next((name for part in parts for name in part.split(TOGETHER) if not _NAME.fullmatch(name)), None)
    require(
        bad is None,
        "component must be a name such as l0h1, l0.mlp, l0 or embed, names joined by +, or a list of these and of "
        f"kinds such as heads, separated by commas, got {shown(text)}; `hf-llc components MODEL` lists them.",
    )


def names_several(component: str | None) -> bool:
    """Whether a setting names components that move one at a time, each with a number of its own."""
    if component is None:
        return False
    # All norms are a kind, and one component of the same name.
    return APART in component or (component in KINDS and not _NAME.fullmatch(component))


def require_one(component: str | None, function: str) -> None:
    """Raise SettingsError if the setting names several components."""
    require(
        not names_several(component),
        f"component must be one component, got {component}; join several by + to move them together, or call "
        f"{function} for a number of each.",
    )


def moves_all(component: str | None) -> bool:
    """Whether a setting that names one component names all weights."""
    return component is None or FULL in component.split(TOGETHER)
