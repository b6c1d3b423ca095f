"""Settings by the name of their field or of their option, from files, `--set` and Python."""

from pathlib import Path

import pytest

from hf_llc.errors import SettingsError
from hf_llc.settings.data import DataSettings
from hf_llc.settings.file import checked_settings, known_settings, parse_assignments, read_settings
from hf_llc.settings.option import settings_in
from hf_llc.settings.overrides import requested
from hf_llc.settings.sampler import SamplerSettings


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


@pytest.mark.parametrize(
    ("name", "setting"),
    [("learning_rate", "lr"), ("num_chains", "chains"), ("nbeta", "n_beta"), ("limit", "max_sequences")],
)
def test_a_name_of_another_tool_leads_to_the_setting(name: str, setting: str) -> None:
    with pytest.raises(SettingsError, match=f"no setting {name}; did you mean {setting}\\?"):
        checked_settings({name: 3}, "settings")


def test_no_name_of_another_tool_is_a_setting_or_stands_for_two() -> None:
    settings = [setting for kind in (DataSettings, SamplerSettings) for setting in settings_in(kind)]
    also = [name for setting in settings for name in setting.option.also]
    assert len(set(also)) == len(also)
    assert not set(also) & set(known_settings())


def test_a_result_whose_items_are_no_text_is_a_settings_file_too(tmp_path: Path) -> None:
    """It records a context length of 1, which nobody can ask for."""
    path = tmp_path / "settings.yaml"
    path.write_text("settings: {n: 96, context_length: 1, gamma: 300.0}\n")
    assert read_settings(path) == {"gamma": 300.0}
    path.write_text("context_length: 1\n")
    with pytest.raises(SettingsError, match="context_length must be ≥ 2"):
        read_settings(path)
