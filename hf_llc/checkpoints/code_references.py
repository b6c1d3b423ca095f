"""Which repositories a model's config takes Python code from, beside its own."""

import json
from pathlib import Path
from typing import Any

_MAPS = ("config.json", "tokenizer_config.json")


def code_references(folder: Path) -> set[tuple[str, str]]:
    """Repository and module of each class that the auto_map of a folder takes from elsewhere."""
    references = set()
    for name in _MAPS:
        try:
            content = json.loads((folder / name).read_bytes())
        except (OSError, ValueError, RecursionError):
            continue  # whoever needs it says so
        entries = content.get("auto_map") if isinstance(content, dict) else None
        for reference in _texts(entries):
            repository, separator, path = reference.partition("--")
            if separator:
                references.add((repository, path.rpartition(".")[0].replace(".", "/")))
    return references


def _texts(value: Any) -> list[str]:
    """Every string in a value, or in the lists and mappings that it is made of."""
    if isinstance(value, str):
        return [value]
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return [text for each in inner for text in _texts(each)]
