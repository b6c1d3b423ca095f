"""Published settings by name: their values, what has precedence over them, and what is said of them."""

import math
from pathlib import Path

import pytest

from hf_llc.errors import SettingsError
from hf_llc.settings.data import DataSettings
from hf_llc.settings.file import known_settings
from hf_llc.settings.overrides import requested
from hf_llc.settings.recipes import RECIPES
from hf_llc.settings.sampler import SamplerSettings

PUBLISHED: dict[str, dict[str, float]] = {
    "devinterp-default": {"gamma": 0, "n_beta": 32 / math.log(32), "batch_size": 32, "chains": 4, "draws": 200,
                          "burn_in": 0},
    "lau-2023-dln": {"gamma": 1, "lr": 5e-7, "batch_size": 500, "burn_in": 9000, "draws": 1000},
    "rllc-2024": {"gamma": 200, "n_beta": 30, "lr": 1e-3, "batch_size": 32, "chains": 4, "draws": 200, "burn_in": 0},
    "susceptibility-2025": {"gamma": 300, "n_beta": 30, "lr": 1e-3, "batch_size": 64, "chains": 4, "draws": 200},
    "bif-2025": {"gamma": 1000, "n_beta": 1000, "lr": 1e-5},
    "spectroscopy-2026": {"gamma": 300, "n_beta": 10, "lr": 1e-5, "batch_size": 16, "chains": 4, "draws": 100,
                          "thin": 160},
    "smdl-2025": {"gamma": 300, "n_beta": 30, "batch_size": 32, "chains": 4, "draws": 100},
}  # fmt: skip
"""The values that the papers' tables and code have, copied independently of the package."""
SMDL_LR = {"14m": 1e-3, "31m": 3e-4, "70m": 3e-4, "160m": 1e-4, "410m": 1e-4, "1b": 3e-5, "1.4b": 3e-5, "2.8b": 1e-5,
           "6.9b": 3e-6}  # fmt: skip
SIZES = {f"smdl-2025-{size}": {**PUBLISHED["smdl-2025"], "lr": lr} for size, lr in SMDL_LR.items()}


@pytest.mark.parametrize(("name", "published"), (PUBLISHED | SIZES).items())
def test_a_recipe_has_the_published_values(name: str, published: dict[str, float]) -> None:
    assert {key: RECIPES[name].settings[key] for key in published} == pytest.approx(published)
    assert not {"lr", "n_beta", "gamma", "chains", "draws"} & (RECIPES[name].settings.keys() - published.keys()) - (
        {"chains"} if name == "lau-2023-dln" else set()
    )


def test_every_recipe_is_asserted_above() -> None:
    assert set(RECIPES) == set(PUBLISHED | SIZES)


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_is_made_of_settings_that_a_sampler_can_have(name: str) -> None:
    assert RECIPES[name].settings.keys() <= known_settings().keys()
    _, sampler = requested(DataSettings(), None, None, {"recipe": name}, "estimate")
    assert {key: getattr(sampler, key) for key in RECIPES[name].settings} == RECIPES[name].settings
    assert not sampler.tries_draws
    assert not sampler.by_draws


def test_relaxation_is_that_of_the_whole_chain_and_resolution_is_gamma_over_n_beta() -> None:
    assert RECIPES["smdl-2025-1.4b"].relaxation_at_end == pytest.approx(0.9)
    assert RECIPES["spectroscopy-2026"].relaxation_at_end == pytest.approx(48)
    assert RECIPES["lau-2023-dln"].relaxation_at_end == pytest.approx(0.005)
    assert RECIPES["bif-2025"].relaxation_at_end is None
    assert RECIPES["rllc-2024"].resolution == pytest.approx(200 / 30)
    assert RECIPES["lau-2023-dln"].resolution is None


def test_findings_say_what_a_recipe_lacks() -> None:
    def findings(name: str) -> str:
        return "; ".join(RECIPES[name].findings)

    assert "no localizing prior" in findings("devinterp-default")
    assert "step size is not part of it" in findings("devinterp-default")
    assert "without a burn-in" in findings("rllc-2024")
    assert "without a burn-in" not in findings("lau-2023-dln")
    assert "0.9 % of its variance at the first draw and 59 % at the last" in findings("smdl-2025-1b")


def test_what_is_given_wins_over_a_recipe(tmp_path: Path) -> None:
    file = tmp_path / "settings.yaml"
    file.write_text("recipe: rllc-2024\ngamma: 5\nchains: 6\n")
    given = SamplerSettings(batch_size=8, draws=40)
    _, sampler = requested(DataSettings(), given, file, {"gamma": 7.0}, "estimate")
    assert (sampler.gamma, sampler.chains, sampler.batch_size, sampler.draws) == (7, 6, 8, 40)
    assert (sampler.lr, sampler.n_beta, sampler.recipe) == (1e-3, 30, "rllc-2024")


def test_the_recipe_of_given_settings_counts() -> None:
    _, sampler = requested(DataSettings(), SamplerSettings(recipe="bif-2025"), None, {}, "estimate")
    assert (sampler.lr, sampler.gamma, sampler.sampler) == (1e-5, 1000, "rmsprop-sgld")


def test_the_sentence_names_source_and_changed_settings() -> None:
    _, sampler = requested(DataSettings(), None, None, {"recipe": "rllc-2024", "lr": 1e-4}, "estimate")
    sentence = RECIPES["rllc-2024"].sentence(sampler)
    assert "arXiv 2410.02984" in sentence
    assert "another value of lr:" in sentence


def test_an_unknown_recipe_is_refused_with_a_near_one() -> None:
    with pytest.raises(SettingsError, match=r"recipe must be one that .* got 'rllc-2025'; did you mean rllc-2024"):
        SamplerSettings(recipe="rllc-2025")
    with pytest.raises(SettingsError, match=r"recipe must be one that .* lists, got a list"):
        requested(DataSettings(), None, None, {"recipe": ["rllc-2024"]}, "estimate")
