"""The choice of chain settings that are not given, for estimates, scans, calibrations and validation."""

from dataclasses import replace
from typing import Any

import pytest

from hf_llc.errors import SettingsError
from hf_llc.sampling.tuning.choose_chains import ChainChoice, choose_chains
from hf_llc.sampling.tuning.measurements import LocalGeometry
from hf_llc.settings.sampler import SamplerSettings

N_BETA, GAMMA, N = 100.0, 50.0, 1000
QUIET = LocalGeometry(curvature=2.0, trace=20.0, squares=10.0, noise=0.0, rise=0.1)
STEEP = replace(QUIET, curvature=2e3, trace=5e4, squares=2e7)
GIVEN: dict[str, Any] = {
    "sampler": "baoab", "momentum": 0.5, "lr": 1e-4, "start": "anchor", "gradient": "control-variate",
    "batches": "reshuffled", "baseline": "linear", "burn_in": 40, "burn_in_lr": 2e-4,
}  # fmt: skip


def chosen(*measured: LocalGeometry, dtype: str = "float32", **changed: Any) -> ChainChoice:
    given = {name: changed.pop(name) for name in ("start", "longest_burn_in") if name in changed}
    asked = SamplerSettings(batch_size=8, **changed)
    return choose_chains(asked, measured, n_beta=N_BETA, gamma=GAMMA, n=N, dtype=dtype, **given)


def test_what_is_given_is_kept_and_needs_no_reason() -> None:
    asked = SamplerSettings(**GIVEN)
    choice = choose_chains(asked, [STEEP], n_beta=N_BETA, gamma=GAMMA, n=N, dtype="float32")
    assert (choice.settings, choice.reasons) == (GIVEN, {})


def test_what_is_left_open_has_a_value_and_a_reason() -> None:
    choice = chosen(QUIET)
    assert choice.settings.keys() == GIVEN.keys()
    assert "auto" not in choice.settings.values()
    assert list(choice.reasons) == ["start", "sampler", "lr", "burn_in"]


def test_the_sharpest_checkpoint_decides_for_all() -> None:
    assert chosen(QUIET, STEEP).settings["lr"] == chosen(STEEP).settings["lr"] < chosen(QUIET).settings["lr"]


def test_chains_start_where_the_rise_of_the_loss_allows_or_where_they_are_told() -> None:
    far = replace(QUIET, rise=5.0)
    assert [chosen(each).settings["start"] for each in (QUIET, far)] == ["localiser", "anchor"]
    assert chosen(far, start="localiser").settings["start"] == "localiser"


def test_no_start_is_chosen_that_the_dtype_cannot_compute() -> None:
    short: dict[str, Any] = {"longest_burn_in": 10}
    assert chosen(STEEP, **short).settings["start"] == "laplace"
    assert chosen(STEEP, **short, dtype="bfloat16").settings["start"] == "both"
    assert "laplace" in chosen(STEEP, **short).reasons["start"]


def test_the_burn_in_is_as_long_as_there_is_time_for() -> None:
    assert chosen(STEEP).settings["burn_in"] > chosen(STEEP, longest_burn_in=12).settings["burn_in"] == 12


def test_a_sampler_of_whole_batches_is_refused_smaller_ones() -> None:
    with pytest.raises(SettingsError, match="needs the loss of all 1000 items at each step"):
        chosen(QUIET, sampler="mala")
