"""The metadata block of a README.md: read it, and judge it as the Hub does before a commit."""

import re
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

FRONT_MATTER = re.compile(r"\A\s*---[ \t]*\r?\n(.*?)(?:\r?\n)?---[ \t]*(?:\r?\n|\Z)", re.DOTALL)


def metadata(readme: str) -> dict[str, Any] | None:
    """The decoded metadata, None if the card has none; `ValueError` if it is not a YAML mapping."""
    match = FRONT_MATTER.match(readme)
    if match is None:
        return None
    try:
        data = YAML(typ="safe", pure=True).load(match.group(1))
    except YAMLError as error:
        raise ValueError(str(error)) from error
    if data is not None and not isinstance(data, dict):
        raise ValueError("YAML metadata must be a mapping")
    return data


def complaints(readme: str) -> tuple[list[str], list[str]]:
    """Errors and warnings about a card; with an error the Hub refuses the commit."""
    try:
        data = metadata(readme)
    except ValueError as error:
        return [f"Invalid metadata in README.md.\n- {error}"], []
    if not data:
        return [], ["empty or missing yaml metadata in repo card"]
    errors = [f'"{key}" must be a string' for key in ("library_name", "pipeline_tag") if not _text(data, key)]
    license_ok = isinstance(data.get("license", ""), str | list)
    return errors + ([] if license_ok else ['"license" must be a string']) + _index_errors(data), []


def _text(data: dict[str, Any], key: str) -> bool:
    return isinstance(data.get(key, ""), str)


def _index_errors(data: dict[str, Any]) -> list[str]:
    index = data.get("model-index", [])
    if not isinstance(index, list):
        return ['"model-index" must be an array']
    errors = []
    for i, model in enumerate(index):
        where = f"model-index[{i}]"
        errors += _missing(model, where, "name", "results")
        for j, result in enumerate(model.get("results") or []):
            here = f"{where}.results[{j}]"
            errors += _missing(result, here, "task", "dataset", "metrics")
            errors += _missing(result.get("task", {}), f"{here}.task", "type")
            errors += _missing(result.get("dataset", {}), f"{here}.dataset", "name", "type")
            for k, metric in enumerate(result.get("metrics") or []):
                errors += _missing(metric, f"{here}.metrics[{k}]", "type", "value")
    return errors


def _missing(record: Any, where: str, *keys: str) -> list[str]:
    if not isinstance(record, dict):
        return [f'"{where}" must be an object']
    return [f'"{where}.{key}" is required' for key in keys if key not in record]
