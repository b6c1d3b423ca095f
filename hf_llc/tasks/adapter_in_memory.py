"""Adapters in memory, written as the files that peft would read them from (peft)."""

import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hf_llc.checkpoints.files import ADAPTER_CONFIG
from hf_llc.errors import SettingsError

SaveIn = Callable[[str, Callable[[Path], None]], Path]
"""Gives a folder, named after a kind of thing and its content, that the function fills."""


def is_adapter(model: Any) -> bool:
    """True for a model that peft put an adapter on."""
    return any((kind.__module__, kind.__name__) == ("peft.peft_model", "PeftModel") for kind in type(model).__mro__)


def save_adapter(model: Any, place: Path, save_in: SaveIn) -> None:
    """Save the active adapter of a PeftModel to a folder, and its base as it is now to one of its own.

    Raises:
        SettingsError: several adapters are active, or the weights are not those of base and adapter apart.
    """
    from peft.utils.save_and_load import get_base_model_state_dict

    (active,) = _active(model)
    whole = model.get_base_model()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        weights = get_base_model_state_dict(model)
        base = save_in(type(whole).__name__, lambda folder: whole.save_pretrained(folder, state_dict=dict(weights)))
        # The base has them all.
        model.save_pretrained(place, selected_adapters=[active], save_embedding_layers=False)
    (place / "README.md").unlink(missing_ok=True)
    (path,) = place.rglob(ADAPTER_CONFIG)
    if path.parent != place:  # where peft puts an adapter that is not called default
        for each in list(path.parent.iterdir()):
            each.rename(place / each.name)
        path.parent.rmdir()
    _name_base(place / ADAPTER_CONFIG, base)


def _active(model: Any) -> list[str]:
    """The one adapter that the model computes with."""
    active = list(model.active_adapters)
    if len(active) != 1:
        raise SettingsError(
            f"model must have one active adapter, got {', '.join(active) or 'none'}; choose one with set_adapter()."
        )
    modules = list(model.modules())
    if any(getattr(module, "merged_adapters", None) for module in modules):
        raise SettingsError("model has its adapter merged into its base; call unmerge_adapter() first.")
    if any(getattr(module, "disable_adapters", False) is True for module in modules):
        raise SettingsError("model has its adapter disabled; enable it first, or give the base alone.")
    return active


def _name_base(path: Path, base: Path) -> None:
    values = json.loads(path.read_bytes())
    # Sets are written in an order that differs between processes.
    ordered = {
        name: sorted(value) if isinstance(value, list) and all(isinstance(each, str) for each in value) else value
        for name, value in values.items()
    }
    ordered |= {"base_model_name_or_path": str(base), "revision": None}
    path.write_text(json.dumps(ordered, indent=2, sort_keys=True), encoding="utf-8")
