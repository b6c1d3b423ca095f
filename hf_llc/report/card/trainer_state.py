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
    """The learning rate of the step at which a checkpoint was written, by the state in its folder.

    None if that says none: it was logged at other steps only, and was not always the same.
    """
    path = checkpoint / STATE
    state = _read(path) if path.is_file() else None
    if state is None:
        return None
    rates = {
        line.get("step"): rate for line in _lines(state) if (rate := _number(line.get("learning_rate"))) is not None
    }
    if len(rates) > 1 and len(set(rates.values())) == 1:
        return next(iter(rates.values()))
    return rates.get(state.get("global_step"))


def _read(path: Path) -> dict[str, Any] | None:
    try:
        state = json.loads(path.read_bytes())
    except ValueError:
        return None
    return state if isinstance(state, dict) else None


def _last(state: dict[str, Any], name: str) -> float | None:
    lines = reversed(_lines(state))
    return next((value for line in lines if (value := _number(line.get(name))) is not None), None)


def _lines(state: dict[str, Any]) -> list[dict[str, Any]]:
    history = state.get("log_history")
    return [line for line in history if isinstance(line, dict)] if isinstance(history, list) else []


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None
