"""What the tokenizer files of a checkpoint say, read without transformers' classes (tokenizers)."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Tokenizer
from transformers.tokenization_utils_base import get_fast_tokenizer_file

_TOKENIZER_FILE = "tokenizer.json"
_CONFIG = "tokenizer_config.json"


def read_tokenizer_file(folder: Path, added: Mapping[int, AddedToken]) -> Tokenizer | None:
    """The tokenizer that tokenizer.json describes; None if there is no such file.

    Args:
        folder: of the tokenizer files.
        added: tokens that transformers added, by id; those that a file beside tokenizer.json names are added here too.
            The others are defaults of a class, which the checkpoint knows nothing of.

    Raises:
        Exception: the file cannot be read; the tokenizers library raises no narrower type.
    """
    config = _json(folder / _CONFIG)
    versions = config.get("fast_tokenizer_files")
    path = folder / (get_fast_tokenizer_file(versions) if versions else _TOKENIZER_FILE)
    if not path.is_file():
        return None
    tokenizer = Tokenizer.from_file(str(path))
    known = {token.content for token in tokenizer.get_added_tokens_decoder().values()}
    stated = _stated_tokens(folder, config)
    for _, token in sorted(added.items()):
        if token.content not in known and token.content in stated:
            tokenizer.add_tokens([token])
    return tokenizer


def class_name(folder: Path) -> str | None:
    """What to call the class of transformers that reads a folder's tokenizer.json.

    Returns:
        None if there is no such file, or the class is the repository's own code.
    """
    config, codes = _json(folder / _CONFIG), _json(folder / "config.json").get("auto_map")
    if not (folder / _TOKENIZER_FILE).is_file() or "auto_map" in config:
        return None
    if isinstance(codes, Mapping) and "AutoTokenizer" in codes:
        return None
    name = config.get("tokenizer_class")
    return name if isinstance(name, str) else "the class for its model type"


def encode_whole_texts(tokenizer: Tokenizer, *, special_as_text: bool) -> None:
    """Let the tokenizer give all ids of a text, the same each time.

    Settings that tokenizer.json keeps for training are undone: truncation, padding and dropout of merges.

    Args:
        special_as_text: a special token that is spelled out in a text is read as text, not as that token.
    """
    tokenizer.no_truncation()
    tokenizer.no_padding()
    tokenizer.encode_special_tokens = special_as_text
    if getattr(tokenizer.model, "dropout", None):
        tokenizer.model.dropout = None


def _stated_tokens(folder: Path, config: Mapping[str, Any]) -> set[str]:
    """Every token that the files beside tokenizer.json name."""
    return {
        *_strings({key: value for key, value in config.items() if "token" in key}),
        *_json(folder / "added_tokens.json"),
        *_strings(_json(folder / "special_tokens_map.json")),
    }


def _strings(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for inner in value.values():
            yield from _strings(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _strings(inner)


def _json(path: Path) -> Mapping[str, Any]:
    """The object in a file; empty if there is none."""
    if not path.is_file():
        return {}
    content = json.loads(path.read_text(encoding="utf-8"))
    return content if isinstance(content, dict) else {}
