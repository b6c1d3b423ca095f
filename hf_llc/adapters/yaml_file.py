"""A mapping from a YAML or JSON file (ruamel.yaml; JSON is YAML)."""

from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from hf_llc.errors import NotFoundError, SettingsError


def read_mapping(path: Path) -> dict[str, Any]:
    """The file's top-level mapping.

    Raises:
        NotFoundError: there is no such file. SettingsError: it is not YAML, or not a mapping with words as keys.
    """
    if not path.is_file():
        raise NotFoundError(f"There is no file {path}.")
    try:
        found = YAML(typ="safe", pure=True).load(path.read_text(encoding="utf-8"))
    except (YAMLError, UnicodeDecodeError) as error:
        where = getattr(error, "problem_mark", None)
        line = f", line {where.line + 1}" if where is not None else ""
        raise SettingsError(f"{path}{line} is not YAML: {getattr(error, 'problem', None) or error}.") from error
    if not isinstance(found, dict) or not all(isinstance(key, str) for key in found):
        raise SettingsError(f"{path} holds no settings; it should have lines such as `gamma: 100`.")
    return found
