"""The example in `model_cards/demo` is what would be published today, and reads back."""

import re
from pathlib import Path

import pytest
from huggingface_hub import ModelCard, ModelCardData

from hf_llc.report.card.escaping import rounded
from hf_llc.report.card.files import CARD
from hf_llc.report.card.metadata import PICTURE, RESULTS, SETTINGS, VECTORS
from hf_llc.results.jsonl import curve_from
from tests.demo_card import DEMO, write_card


@pytest.fixture(scope="module")
def current(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the card as it would be published today."""
    folder = tmp_path_factory.mktemp("demo")
    write_card(folder)
    return folder


@pytest.mark.parametrize("name", [CARD, RESULTS, SETTINGS])
def test_the_example_is_current(current: Path, name: str) -> None:
    assert (DEMO / name).read_text(encoding="utf-8") == (current / name).read_text(encoding="utf-8"), (
        "run: python -m tests.demo_card"
    )


def test_the_pictures_of_the_example_say_what_they_would_today(current: Path) -> None:
    """Words and numbers in them; the lines depend on the version of matplotlib."""
    results = [re.findall(r"<!-- (.*?) -->", (folder / VECTORS).read_text()) for folder in (DEMO, current)]
    assert results[0] == results[1], "run: python -m tests.demo_card"
    assert len(results[0]) > 20
    assert (DEMO / PICTURE).read_bytes().startswith(b"\x89PNG")


def test_the_example_holds_the_numbers_that_it_shows() -> None:
    data = ModelCard.load(DEMO / CARD).data
    assert isinstance(data, ModelCardData)
    (entry,) = data.eval_results or []
    last = curve_from((DEMO / RESULTS).read_text(encoding="utf-8"), ".").points[-1]
    assert (entry.metric_value, (entry.metric_args or {})["model_revision"]) == (
        rounded(last.llc, last.stderr)[0],
        last.revision,
    )
