"""Settings files that are odd or damaged: the values that plain JSON reads, or one line."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hf_llc.settings.data import DataSettings
from hf_llc.settings.file import known_settings, read_settings
from hf_llc.settings.option import settings_in
from hf_llc.settings.sampler import SamplerSettings
from tests.fuzz.budget import TALLY, examples, recorded
from tests.fuzz.folders import TEXTS
from tests.fuzz.mutation import ODD_VALUES, damaged
from tests.fuzz.outcome import CONTEXT, REPORT, Number, Refusal, loss_at, refusal
from tests.fuzz.plain import loss_of

pytestmark = pytest.mark.filterwarnings("ignore")

NUMBERS: list[Any] = [
    0,
    1,
    2,
    3,
    4,
    8,
    64,
    0.25,
    1e-4,
    300,
    1e15,
    1e16,
    2**62,
    1e308,
    "1e-4",
    "auto",
    "sgld",
    "float32",
]
# JSON has no word for those that are not finite, and YAML has others than Python.
VALUES = [value for value in [*NUMBERS, *ODD_VALUES] if not (isinstance(value, float) and not math.isfinite(value))]
NAMES = [*known_settings(), "n", "device", "settings", "gama", "", "команда"]


def read(path: Path) -> tuple[DataSettings, SamplerSettings] | Refusal:
    """The settings of a file, as the command line makes them."""
    try:
        values = read_settings(path)
        named = {field: values[name] for name, field in [*_names(DataSettings)] if name in values}
        sampler = {field: values[name] for name, field in [*_names(SamplerSettings)] if name in values}
        return DataSettings(**named), SamplerSettings(**sampler)
    except REPORT.EXPECTED as error:
        return refusal(error)


def _names(kind: type[Any]) -> list[tuple[str, str]]:
    """Names in a file, and of the fields."""
    renamed = {each.field: each.name for each in settings_in(kind)}
    return [(renamed.get(field, field), field) for field in kind.__dataclass_fields__]


@examples(250)
@given(values=st.dictionaries(st.sampled_from(NAMES), st.sampled_from(VALUES), min_size=1, max_size=3))
def test_an_odd_settings_file_says_what_json_reads_or_one_line(place: Path, values: dict[str, Any]) -> None:
    path = place / "settings.yaml"
    path.write_text(json.dumps(values))
    with recorded("settings", values):
        result = read(path)
        TALLY[f"settings: {type(result).__name__}"] += 1
        if isinstance(result, Refusal):
            return
        results = {name: getattr(part, field) for part in result for name, field in _names(type(part))}
        stored = values["settings"] if isinstance(values.get("settings"), dict) else values
        for name, value in stored.items():
            if name in results and name != "params":
                if name == "dataset" and isinstance(value, list):  # a list of one is that one
                    value = value[0] if len(value) == 1 else tuple(value)
                assert results[name] == value
                assert isinstance(value, bool) == isinstance(results[name], bool)


@examples(80)
@given(data=st.data())
def test_a_damaged_settings_file_is_read_or_is_one_line(place: Path, data: st.DataObject) -> None:
    path = place / "settings.yaml"
    content = "# of a pilot\ngamma: 100.0   # γ\nn_beta: 30\nparams: ['*.0.*']\nlr: 1e-4\nchecks: false\nseed: 7\n"
    path.write_bytes(data.draw(damaged(content.encode())))
    with recorded("settings bytes", path.read_bytes()[:300]):
        TALLY[f"settings bytes: {type(read(path)).__name__}"] += 1


@examples(25)
@given(
    context=st.sampled_from([None, 2, 3, 16, CONTEXT, 64, 65, 10**6, 1, 0, "32", 32.0, True]),
    most=st.sampled_from([0, 1, 2, 5, 2048, 2**40, -1, "5", None]),
)
def test_settings_of_the_text_give_the_right_number_or_one_line(place: Path, context: Any, most: Any) -> None:
    with recorded("text settings", (context, most)):
        try:
            result = loss_at(place / "llama", place / "text.jsonl", context_length=context, max_sequences=most)
        except REPORT.EXPECTED as error:
            result = refusal(error)
        TALLY[f"text settings: {type(result).__name__}"] += 1
        if isinstance(result, Number):
            plain = loss_of(place / "llama", TEXTS, 64 if context is None else context, most or 10**9)
            assert result.n == plain.n
            assert result.loss == pytest.approx(plain.loss, rel=2e-4)
