"""Classes of the data as classes of the model: by name where both have names, else by number."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hf_llc.errors import UnusableError

GENERIC = re.compile(r"LABEL_\d+")
"""What transformers calls a class that nobody has named."""
SHOWN = 20
"""Names of a list in a message."""


@dataclass(frozen=True, kw_only=True)
class ModelClasses:
    """The classes of a model.

    Attributes:
        model: its name, for messages. names: by number; generic ones are none.
    """

    model: str
    names: Sequence[str]

    @property
    def are_named(self) -> bool:
        """Whether somebody has named them."""
        return not all(GENERIC.fullmatch(name) for name in self.names)


def classes_of(config: Any, model: str) -> ModelClasses:
    """The classes that a model's config has.

    Raises:
        UnusableError: there are fewer than two, or their numbers are not 0, 1, ….
    """
    names = {int(number): str(name) for number, name in (config.id2label or {}).items()}
    if sorted(names) != list(range(len(names))) or len(names) < 2:
        raise UnusableError(
            f"{model}: id2label in its config.json must name two or more classes 0, 1, …, got {_shown(names.values())}."
        )
    return ModelClasses(model=model, names=[names[number] for number in range(len(names))])


def numbers_by_name(names: Sequence[str], classes: ModelClasses, data: str) -> tuple[list[int], bool]:
    """The model's number of each class of the data, and whether names decided on it rather than places in the lists.

    Args:
        names: of the classes of the data, in their order. data: its name, for messages.

    Raises:
        UnusableError: both have names, and those of the data are not the model's.
    """
    if not classes.are_named:
        if all(re.fullmatch(r"\d+", name) for name in names):
            return [int(name) for name in names], True
        return list(range(len(names))), False
    numbers = _numbers(classes.names)
    folded = _numbers([_folded(name) for name in classes.names])
    places = [numbers.get(name, folded.get(_folded(name))) for name in names]
    known = [number for number in places if number is not None]
    if len(known) < len(places) or len(set(known)) < len(known):
        raise UnusableError(
            f"The classes of {data} are not those of {classes.model}. Data: {_shown(names)}. Model: "
            f"{_shown(classes.names)}. Rename those of the data, or id2label in the model's config.json."
        )
    return known, True


def refuse_numbers(numbers: Sequence[int], classes: ModelClasses, data: str) -> None:
    """Raise UnusableError if a class is not one of the model's."""
    if wrong := sorted({number for number in numbers if not 0 <= number < len(classes.names)}):
        hint = "; -1 marks rows without a class, choose another `split`" if wrong == [-1] else ""
        raise UnusableError(
            f"{data} has the class {wrong[0]}, but {classes.model} has the classes 0 to {len(classes.names) - 1}{hint}."
        )


def _numbers(names: Sequence[str]) -> Mapping[str, int]:
    """The number of each name that only one class has."""
    return {name: number for number, name in enumerate(names) if names.count(name) == 1}


def _folded(name: str) -> str:
    return re.sub(r"[\s_-]+", " ", name).strip().casefold()


def _shown(names: Any) -> str:
    names = list(names)
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return (", ".join(names[:SHOWN]) or "none") + more
