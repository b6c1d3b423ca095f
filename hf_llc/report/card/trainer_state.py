"""What a transformers Trainer wrote down about a training (`trainer_state.json`)."""

import json
from pathlib import Path
from typing import Any

STATE = "trainer_state.json"


def training_facts(folder: Path) -> dict[str, str] | None:
    """Names and values of what the newest state in a Trainer's folder or one of its checkpoints says; None without one.

    A state that cannot be read says nothing.
    """
    states = [path for path in (folder / STATE, *folder.glob(f"checkpoint-*/{STATE}")) if path.is_file()]
    read = [state for path in states if (state := _read(path)) is not None]
    if not read:
        return None
    state = max(read, key=lambda each: _number(each.get("global_step")) or 0)
    facts = {
        "steps": _number(state.get("global_step")),
        "epochs": _number(state.get("epoch")),
        "sequences per device and step": _number(state.get("train_batch_size")),
        "training loss at the end": _last(state, "loss"),
        "evaluation loss at the end": _last(state, "eval_loss"),
    }
    return {name: f"{value:.6g}" for name, value in facts.items() if value is not None}


def learning_rate(checkpoint: Path) -> float | None:
    """The learning rate of the last step that the state in a checkpoint's folder tells of; None if it tells of none."""
    path = checkpoint / STATE
    state = _read(path) if path.is_file() else None
    return None if state is None else _last(state, "learning_rate")


def _read(path: Path) -> dict[str, Any] | None:
    try:
        state = json.loads(path.read_bytes())
    except ValueError:
        return None
    return state if isinstance(state, dict) else None


def _last(state: dict[str, Any], name: str) -> float | None:
    history = state.get("log_history")
    lines = [line for line in history if isinstance(line, dict)] if isinstance(history, list) else []
    return next((value for line in reversed(lines) if (value := _number(line.get(name))) is not None), None)


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None
