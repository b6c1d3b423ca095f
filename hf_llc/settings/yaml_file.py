"""A mapping from a YAML or JSON file, and one with remarks to a YAML file (ruamel.yaml; JSON is YAML)."""

import io
import json
import textwrap
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.events import AliasEvent, CollectionEndEvent, CollectionStartEvent, ScalarEvent

from hf_llc.errors import NotFoundError, SettingsError
from hf_llc.settings.bounds import shown
from hf_llc.settings.files import read_text
from hf_llc.settings.strict_json import DamagedError, clipped, parsed

WIDTH = 100
LARGEST, LARGEST_JSON = 2**18, 2**26
"""Characters of YAML, which takes a second for a hundred thousand, and bytes of a result's JSON."""
LONGEST_SCALAR = 2**12
"""Characters of one value on the command line."""
DEEPEST, MOST = 20, 20_000
"""Levels and values of a YAML file, those that aliases repeat counted each time."""
_MALFORMED = (YAMLError, ValueError, TypeError, LookupError, AttributeError, ArithmeticError, RecursionError)
"""What ruamel.yaml raises for a text that is no YAML, or for a tag whose value does not fit it."""


def mapping_text(values: Mapping[str, Any], header: Sequence[str], remarks: Mapping[str, str]) -> str:
    """YAML that `read_mapping` reads as `values`: paragraphs of remarks, then each value below its own remark."""
    mapping = CommentedMap(values)
    mapping.yaml_set_start_comment("\n\n".join(map(_wrapped, header)) + "\n\n")
    for name in values:
        if name in remarks:
            mapping.yaml_set_comment_before_after_key(name, _wrapped(remarks[name]))
    stream = io.StringIO()
    yaml = YAML()
    yaml.width = 4096
    yaml.dump(mapping, stream)
    return stream.getvalue()


def _wrapped(text: str) -> str:
    lines = textwrap.wrap(" ".join(text.split()), WIDTH, break_on_hyphens=False, break_long_words=False)
    return "\n".join(lines)


def read_mapping(path: Path) -> dict[str, Any]:
    """The file's top-level mapping.

    Raises:
        NotFoundError: if there is no such file. SettingsError: if it is not YAML, larger than settings can be, or no
            mapping with words as keys.
    """
    try:
        is_folder, is_file, exists = path.is_dir(), path.is_file(), path.exists()
    except OSError as error:
        raise SettingsError(f"settings file {shown(path)} cannot be read ({error.strerror}).") from error
    if is_folder:
        raise SettingsError(f"{path} is a folder; name a YAML or JSON file in it.")
    if not is_file:
        # A pipe or a device may have no end.
        raise NotFoundError(f"{path} is not a regular file." if exists else f"No file {path}.")
    text = read_text(path, "--settings", LARGEST_JSON)
    values = _json(text)
    if values is None:
        if len(text) > LARGEST:
            raise SettingsError(f"{path} has {len(text)} characters; settings in YAML have {LARGEST} at most.")
        values = _yaml(text, path)
    if not isinstance(values, dict) or not all(isinstance(key, str) for key in values):
        raise SettingsError(f"{path} holds no settings; it should have lines such as `gamma: 100`.")
    return values


def scalar(text: str, source: str) -> Any:
    """One value as YAML has it; `source` is what a message says that it comes from.

    Raises:
        SettingsError: it is not YAML, or longer than a setting can be.
    """
    if len(text) > LONGEST_SCALAR:
        raise SettingsError(f"{source} has {len(text)} characters; a setting has {LONGEST_SCALAR} at most.")
    return _yaml(text, source)


def _json(text: str) -> Any:
    """The JSON value; None if the text is none, and might be YAML."""
    try:
        return parsed(text) if text.lstrip().startswith("{") else None
    except DamagedError:
        return None


def _yaml(text: str, path: Path | str) -> Any:
    try:
        with warnings.catch_warnings(action="ignore"):
            _refuse_bombs(text)
            values = YAML(typ="safe", pure=True).load(text)
        # Half a surrogate pair can be written by an escape, and printed nowhere.
        json.dumps(values, ensure_ascii=False, default=str, skipkeys=True).encode()
    except _MALFORMED as error:
        where = getattr(error, "problem_mark", None)
        line = f", line {where.line + 1}" if where is not None else ""
        problem = clipped(" ".join(str(getattr(error, "problem", None) or error).split()), 160)
        raise SettingsError(f"{path}{line} is not YAML: {problem}.") from error
    return values


def _refuse_bombs(text: str) -> None:
    """Raise YAMLError if the text nests deeper than DEEPEST, or holds more than MOST values once aliases are followed.

    Only events are looked at: no value is made, and an alias costs what it stands for.
    """
    sizes: dict[str, int] = {}
    opened: list[tuple[str | None, int]] = [(None, 0)]
    for event in YAML(typ="safe", pure=True).parse(text):
        if isinstance(event, CollectionStartEvent):
            opened.append((event.anchor, 0))
            if len(opened) > DEEPEST:
                raise MarkedYAMLError(problem=f"it nests deeper than {DEEPEST}", problem_mark=event.start_mark)
            continue
        anchor, size = event.anchor if isinstance(event, ScalarEvent) else None, 1
        if isinstance(event, CollectionEndEvent):
            anchor, size = opened.pop()
            size += 1
        elif isinstance(event, AliasEvent):
            # An anchor that is not known, or not closed yet, is refused when the values are made.
            size = sizes.get(event.anchor, 1)
        elif not isinstance(event, ScalarEvent):
            continue
        if anchor is not None:
            sizes[anchor] = size
        opened[-1] = (opened[-1][0], opened[-1][1] + size)
        if opened[-1][1] > MOST:
            raise MarkedYAMLError(problem=f"it stands for more than {MOST} values", problem_mark=event.start_mark)
