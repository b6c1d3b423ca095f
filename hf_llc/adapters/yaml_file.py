"""A mapping from a YAML or JSON file, and one with remarks to a YAML file (ruamel.yaml; JSON is YAML)."""

import io
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap
from ruamel.yaml.error import YAMLError

from hf_llc.errors import NotFoundError, SettingsError

WIDTH = 100


def mapping_text(values: Mapping[str, Any], header: Sequence[str], remarks: Mapping[str, str]) -> str:
    """YAML that `read_mapping` reads as `values`: paragraphs of remarks, then each value below its own remark."""
    made = CommentedMap(values)
    made.yaml_set_start_comment("\n\n".join(map(_wrapped, header)) + "\n\n")
    for name in values:
        if name in remarks:
            made.yaml_set_comment_before_after_key(name, _wrapped(remarks[name]))
    stream = io.StringIO()
    yaml = YAML()
    yaml.width = 4096
    yaml.dump(made, stream)
    return stream.getvalue()


def _wrapped(text: str) -> str:
    lines = textwrap.wrap(" ".join(text.split()), WIDTH, break_on_hyphens=False, break_long_words=False)
    return "\n".join(lines)


def read_mapping(path: Path) -> dict[str, Any]:
    """The file's top-level mapping.

    Raises:
        NotFoundError: there is no such file. SettingsError: it is not YAML, or not a mapping with words as keys.
    """
    if not path.is_file():
        raise NotFoundError(f"There is no file {path}.")
    try:
        found = YAML(typ="safe", pure=True).load(path.read_text(encoding="utf-8"))
    except (YAMLError, ValueError, RecursionError) as error:
        where = getattr(error, "problem_mark", None)
        line = f", line {where.line + 1}" if where is not None else ""
        raise SettingsError(f"{path}{line} is not YAML: {getattr(error, 'problem', None) or error}.") from error
    if not isinstance(found, dict) or not all(isinstance(key, str) for key in found):
        raise SettingsError(f"{path} holds no settings; it should have lines such as `gamma: 100`.")
    return found
