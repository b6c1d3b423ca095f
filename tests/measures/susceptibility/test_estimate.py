"""The matrix of components and items, its verdicts, and what is written of it."""

import json
from pathlib import Path
from typing import Any

import numpy
import pandas
import pytest

from hf_llc.errors import SettingsError
from hf_llc.measures.susceptibility.estimate import susceptibility
from hf_llc.results.matrix import MatrixVerdict
from hf_llc.results.susceptibility import Susceptibility
from hf_llc.sampling.loss_draws import LossDraws
from hf_llc.settings.strict_json import DamagedError
from tests.measures.susceptibility.test_parts import ITEMS, chains, exact_parts, pairs

NAMES = [f"token {number}" for number in range(ITEMS)]


def of_pairs(count: int) -> Susceptibility:
    return susceptibility(
        {"head 0": pairs(count, True, 1), "head 1": pairs(count, True, 2)}, pairs(count, False, 0), NAMES
    )


def test_rows_are_components_and_the_verdict_follows_the_draws() -> None:
    few, many = of_pairs(16), of_pairs(10_000)
    assert many.covariance.shape == (2, ITEMS)
    for row in many.covariance:
        numpy.testing.assert_allclose(row, exact_parts()[0].numpy(), atol=0.1 * numpy.abs(row).max())
    assert few.quality.verdict is MatrixVerdict.NOISE
    assert many.quality.verdict is MatrixVerdict.RESOLVED
    assert [quality.verdict for quality in many.qualities] == [MatrixVerdict.RESOLVED] * 2
    assert many.total_quality.verdict is MatrixVerdict.RESOLVED


def test_the_ratio_of_the_parts_is_the_exact_one() -> None:
    covariance, shift = exact_parts()
    assert of_pairs(10_000).ratios == pytest.approx([float(shift.norm() / covariance.norm())] * 2, rel=0.1)
    assert None in of_pairs(8).ratios


def test_standardised_rows_have_mean_0_and_deviation_1() -> None:
    result = of_pairs(100)
    for matrix in (result.standardised, result.standardised_total):
        numpy.testing.assert_allclose(matrix.mean(axis=1), 0, atol=1e-12)
        numpy.testing.assert_allclose(matrix.std(axis=1), 1)


def test_chains_have_no_control_and_pairs_have() -> None:
    of_chains = susceptibility({"head": chains(200, True, 1)}, chains(200, False, 0), NAMES)
    assert of_chains.control is None
    assert of_pairs(50).control is not None
    again = Susceptibility.from_dict(json.loads(json.dumps(of_chains.to_dict(), allow_nan=False)))
    assert again.control is None
    assert of_chains.to_pandas()["control"].isna().all()


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    result = of_pairs(50)
    again = Susceptibility.from_dict(json.loads(json.dumps(result.to_dict(), allow_nan=False)))
    numpy.testing.assert_array_equal(again.standardised_total_stderr, result.standardised_total_stderr)
    assert (again.quality, again.qualities, again.ratios) == (result.quality, result.qualities, result.ratios)
    result.to_parquet(tmp_path / "susceptibility.parquet")
    rows = pandas.read_parquet(tmp_path / "susceptibility.parquet")
    assert len(rows) == 2 * ITEMS
    row = rows[(rows["component"] == "head 1") & (rows["item"] == "token 3")].iloc[0]
    assert (row["shift"], row["control_stderr"]) == (result.shift[1, 3], result.control_stderr[1, 3])  # type: ignore[index]


def test_damaged_susceptibilities_are_refused() -> None:
    stored = of_pairs(50).to_dict()
    with pytest.raises(DamagedError, match="shape"):
        Susceptibility.from_dict({**stored, "items": NAMES[1:]})
    with pytest.raises(DamagedError):
        Susceptibility.from_dict({name: value for name, value in stored.items() if name != "ratios"})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"n_beta": 1.0}, "n_beta must be that of the full posterior, 40.0, got 1.0 for head"),
        ({"gamma": 2.0}, "gamma must be that of the full posterior, 60.0, got 2.0 for head"),
    ],
)
def test_draws_of_another_posterior_are_refused(change: dict[str, Any], message: str) -> None:
    draws = pairs(50, True, 1)
    with pytest.raises(ValueError, match=message):
        susceptibility({"head": LossDraws(**{**vars(draws), **change})}, pairs(50, False, 0), NAMES)


def test_names_and_components_are_needed() -> None:
    with pytest.raises(ValueError, match="a name for each of the 12 items, got 1"):
        susceptibility({"head": pairs(50, True, 1)}, pairs(50, False, 0), ["one"])
    with pytest.raises(ValueError, match="at least one component"):
        susceptibility({}, pairs(50, False, 0), NAMES)


def test_pictures_name_components_and_tokens_and_warn_of_noise() -> None:
    noise, clear = of_pairs(12), of_pairs(10_000)
    for part in ("covariance", "standardised", "total"):
        axes = noise.plot(part).axes[0]
        assert [label.get_text() for label in axes.get_yticklabels()] == ["head 0", "head 1"]
        assert "noise" in " ".join(text.get_text() for text in axes.texts)
        assert "noise" not in " ".join(text.get_text() for text in clear.plot(part).axes[0].texts)
    shown = " ".join(text.get_text() for text in noise.text("head 1").axes[0].texts)
    assert "token 0" in shown
    assert "noise" in shown
    assert "other 3" in " ".join(
        text.get_text() for text in clear.text("head 1", tokens=[f"other {i}" for i in range(ITEMS)]).axes[0].texts
    )


def test_pictures_of_what_there_is_not_are_refused() -> None:
    result = of_pairs(12)
    with pytest.raises(SettingsError, match=r"part must be one of covariance, shift, .*, got mean"):
        result.plot("mean")
    with pytest.raises(SettingsError, match=r"part must be one of covariance, shift, .*, got mean"):
        result.text("head 0", "mean")
    with pytest.raises(SettingsError, match="component must be one of head 0, head 1, got head 2"):
        result.text("head 2")
