"""Labels of the data as numbers of the model's classes: by name where both have names."""

from collections.abc import Sequence
from typing import Any

from hf_llc.errors import UnusableError
from hf_llc.tasks.labels import ModelClasses, classes_of, numbers_by_name, refuse_numbers

WITHOUT_NAMES = "Classes are matched by number, since {} has no names for them."


def model_classes(config: Any, name: str) -> ModelClasses:
    """The classes of a model that chooses one for each text.

    Raises:
        UnusableError: it does something else.
    """
    problem = getattr(config, "problem_type", None)
    if problem not in {None, "single_label_classification"}:
        raise UnusableError(
            f"{name}: problem_type is {problem} in its config.json; only single_label_classification, one class a "
            "text, is supported."
        )
    if len(config.id2label or {}) == 1:
        raise UnusableError(
            f"{name} has a single output, as models of regression and reward models have; text-classification needs "
            "two classes or more."
        )
    return classes_of(config, name)


def class_numbers(
    labels: Sequence[int | str], names: Sequence[str] | None, classes: ModelClasses, data: str
) -> tuple[list[int], str | None]:
    """The model's number of each label; and who has no names, if they were matched by number: the data or the model.

    Args:
        names: of the classes that the data numbers, if it has names for them.

    Raises:
        UnusableError: the classes of data and model differ.
    """
    if names is not None:
        numbers = [int(label) for label in labels]
        refuse_numbers(numbers, ModelClasses(model="its list of classes", names=names), data)
        if classes.are_named and all(name.isdigit() for name in names):
            numbers = [int(names[number]) for number in numbers]
            refuse_numbers(numbers, classes, data)
            return numbers, "the data"
        of_model, named = numbers_by_name(names, classes, data)
        numbers = [of_model[number] for number in numbers]
        refuse_numbers(numbers, classes, data)
        return numbers, None if named else "the model"
    if all(isinstance(label, int) or label.lstrip("-").isdigit() for label in labels):
        numbers = [int(label) for label in labels]
        refuse_numbers(numbers, classes, data)
        return numbers, "the data" if classes.are_named else None
    names = sorted(set(map(str, labels)))
    if classes.are_named or set(names) <= set(classes.names):
        table = dict(zip(names, _by_name(names, classes, data), strict=True))
        return [table[str(label)] for label in labels], None
    raise UnusableError(
        f"{classes.model} has no names for its classes ({', '.join(classes.names[:3])}, …), so that those of {data} "
        f"({', '.join(names[:20])}) cannot be matched; set id2label in its config.json, or give their numbers."
    )


def _by_name(names: Sequence[str], classes: ModelClasses, data: str) -> list[int]:
    if not classes.are_named:
        return [classes.names.index(name) for name in names]
    return numbers_by_name(names, classes, data)[0]
