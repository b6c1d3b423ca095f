"""Names of parts of a model as a user writes them; which of them a model has, `hf_llc.components` knows."""

import re

from hf_llc.settings.bounds import require, shown

TOGETHER = "+"
"""Joins components that move together."""
KINDS = ("heads", "groups", "keys-values", "attention", "mlps", "layers", "embeddings", "norms", "all")
"""Lists of components."""
_NAME = re.compile(r"l\d+(h\d+|g\d+|kv\d+|\.attn|\.mlp)?|embed|unembed|norms|full")


def check_component(text: str) -> None:
    """Raise SettingsError unless the text is the name of a component, or several joined by `+`."""
    bad = next((name for name in text.split(TOGETHER) if not _NAME.fullmatch(name)), None)
    require(
        bad is None,
        "component must be l0h1, l0g1, l0kv1, l0.attn, l0.mlp, l0, embed, unembed, norms or full with any numbers, "
        f"or several joined by +, got {shown(text)}; `hf-llc components MODEL` lists those of a model.",
    )
