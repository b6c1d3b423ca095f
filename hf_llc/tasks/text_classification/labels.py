"""Labels of the data as numbers of the model's classes: by name where both have names."""

import re
from collections.abc import Mapping, Sequence

from transformers import PretrainedConfig

from hf_llc.errors import UnusableError

_UNNAMED = re.compile(r"LABEL_\d+")
"""What transformers calls a class that nobody named."""
SHOWN = 20
"""Classes that a message names."""


def class_names(config: PretrainedConfig) -> dict[int, str]:
    """The model's classes by their number."""
    return {int(number): str(name) for number, name in (config.id2label or {}).items()}


def refuse_other_problems(config: PretrainedConfig, name: str) -> None:
    """Raise UnusableError unless the model chooses one class for each text."""
    problem = getattr(config, "problem_type", None)
    if problem not in {None, "single_label_classification"}:
        raise UnusableError(
            f"{name} has problem_type {problem} in its config.json; only single_label_classification is supported."
        )
    if len(class_names(config)) < 2:
        raise UnusableError(
            f"{name} has a single output, as models of regression and reward models have; text-classification needs "
            "two classes or more."
        )


def class_numbers(
    labels: Sequence[int | str], names: Sequence[str] | None, config: PretrainedConfig, model: str, data: str
) -> tuple[list[int], list[str]]:
    """The model's number of each label, and what a reader of the numbers must know about how they were matched.

    Args:
        names: of the classes that the data numbers, if it has names for them.

    Raises:
        UnusableError: the classes of data and model differ.
    """
    of_model = class_names(config)
    model_is_named = not all(_UNNAMED.fullmatch(name) for name in of_model.values())
    if names is not None and all(name.isdigit() for name in names):
        labels = [int(names[label]) if isinstance(label, int) and label >= 0 else label for label in labels]
        names = None
    words = [label for label in labels if isinstance(label, str)]
    if words and all(word.lstrip("-").isdigit() for word in words):
        labels, words = [int(label) for label in labels], []
    if words:
        found = sorted(set(map(str, labels)))
        table = _by_name(found, of_model, model, data)
        return [table[str(label)] for label in labels], []
    numbers = [int(label) for label in labels]
    if names is not None and model_is_named:
        by_name = _by_name(names, of_model, model, data)
        _refuse_outside(numbers, len(names), data)
        return [by_name[names[number]] for number in numbers], []
    _refuse_outside(numbers, len(of_model), data)
    if names is not None and len(names) != len(of_model):
        raise UnusableError(
            f"{data} has {len(names)} classes ({_several(names)}), and {model} has {len(of_model)} without "
            "names; they do not belong together."
        )
    whose = "the data has no names for them" if names is None else "the model has no names for them"
    return numbers, [f"Classes are matched by number, since {whose}."]


def _by_name(names: Sequence[str], of_model: Mapping[int, str], model: str, data: str) -> dict[str, int]:
    """The model's number of each name, whatever its capitals where that is not ambiguous."""
    exact = {name: number for number, name in of_model.items()}
    folded = {name.casefold(): number for number, name in of_model.items()}
    alike = len(folded) < len(of_model) or len({name.casefold() for name in names}) < len(set(names))
    table = {name: exact.get(name, None if alike else folded.get(name.casefold())) for name in names}
    if None in table.values():
        raise UnusableError(
            f"The classes of {data} ({_several(names)}) are not those of {model} ({_several(list(of_model.values()))});"
            " give the data the model's names, or correct id2label in its config.json."
        )
    return {name: number for name, number in table.items() if number is not None}


def _several(names: Sequence[str]) -> str:
    return ", ".join(names[:SHOWN]) + (f" and {len(names) - SHOWN} more" if len(names) > SHOWN else "")


def _refuse_outside(numbers: Sequence[int], count: int, data: str) -> None:
    wrong = next((number for number in numbers if not 0 <= number < count), None)
    if wrong is not None:
        hint = "; -1 stands for a hidden label, so take another split" if wrong == -1 else ""
        raise UnusableError(f"{data} holds the label {wrong}, but classes are 0 to {count - 1}{hint}.")
