"""Classes of the data as classes of the model."""

import pytest

from hf_llc.errors import UnusableError
from hf_llc.tasks.labels import ModelClasses, numbers_by_name, refuse_numbers

NAMED = ModelClasses(model="m", names=["T-shirt", "Ankle boot", "Bag"])
GENERIC = ModelClasses(model="m", names=["LABEL_0", "LABEL_1", "LABEL_2"])


@pytest.mark.parametrize(
    ("names", "numbers"),
    [
        (["Ankle boot", "Bag", "T-shirt"], [1, 2, 0]),
        (["ankle_boot", "bag", "t shirt"], [1, 2, 0]),
        (["Bag"], [2]),
    ],
)
def test_classes_are_matched_by_name(names: list[str], numbers: list[int]) -> None:
    assert numbers_by_name(names, NAMED, "d") == (numbers, True)


def test_without_names_in_the_model_they_are_matched_by_number() -> None:
    assert numbers_by_name(["boot", "bag"], GENERIC, "d") == ([0, 1], False)
    # Folders of numbers are in the order of text.
    assert numbers_by_name(["0", "10", "2"], GENERIC, "d") == ([0, 10, 2], True)


@pytest.mark.parametrize("names", [["Sandal", "Bag"], ["Bag", "bag"]])
def test_names_that_are_not_the_models_are_refused_with_both_lists(names: list[str]) -> None:
    message = rf"Data: {', '.join(names)}\. Model: T-shirt, Ankle boot, Bag\. Rename"
    with pytest.raises(UnusableError, match=message):
        numbers_by_name(names, NAMED, "d")


def test_numbers_that_the_model_has_not_are_refused() -> None:
    refuse_numbers([0, 2, 1], NAMED, "d")
    with pytest.raises(UnusableError, match="d has the class 3, but m has the classes 0 to 2"):
        refuse_numbers([0, 3], NAMED, "d")
    with pytest.raises(UnusableError, match="-1 marks rows without a class"):
        refuse_numbers([-1, 0], NAMED, "d")
