"""Settings by the name of their field or of their option, from files, `--set` and Python."""

from pathlib import Path

import pytest

from hf_llc.errors import SettingsError
from hf_llc.settings.data import DataSettings
from hf_llc.settings.file import parse_assignments, read_settings
from hf_llc.settings.overrides import requested


@pytest.mark.parametrize("name", ["budget", "budget_seconds"])
@pytest.mark.parametrize(("text", "seconds"), [("90s", 90.0), ("15m", 900.0), ("1.5h", 5400.0), ("300", 300.0)])
def test_a_time_is_read_by_either_name_everywhere(tmp_path: Path, name: str, text: str, seconds: float) -> None:
    path = tmp_path / "settings.yaml"
    path.write_text(f"{name}: {text}\n")
    assert read_settings(path) == {"budget_seconds": seconds}
    assert parse_assignments([f"{name}={text}"]) == {"budget_seconds": seconds}
    _, sampler = requested(DataSettings(), None, path, {}, "estimate")
    assert sampler.budget_seconds == seconds
    _, sampler = requested(DataSettings(), None, None, {name: text}, "estimate")
    assert sampler.budget_seconds == seconds


def test_what_is_no_time_is_named() -> None:
    with pytest.raises(SettingsError, match="--set: budget_seconds must be a time above 0 such as 15m, got 'soon'"):
        parse_assignments(["budget=soon"])
    with pytest.raises(SettingsError, match="estimate: budget_seconds must be a time above 0 such as 15m, got 'soon'"):
        requested(DataSettings(), None, None, {"budget": "soon"}, "estimate")
