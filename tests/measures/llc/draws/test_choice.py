"""What `auto` takes: independent draws where the first of them serve, chains where they do not or are asked for."""

from dataclasses import asdict, replace
from pathlib import Path

import pytest

from hf_llc import DataSettings, ModelSettings, SamplerSettings, estimate
from hf_llc.errors import SettingsError
from hf_llc.measures.llc.draws import choice
from hf_llc.measures.llc.forecast import forecast
from hf_llc.results.progress import Observer
from hf_llc.sampling.draws.prior import GradientPair, LossPair
from hf_llc.sampling.draws.statistics import DrawSummary, summarise_draws
from hf_llc.scans.shared_settings import estimate_series
from tests.helpers.command_line import files_of
from tests.helpers.tiny_model import jsonl, save_tiny_model

QUICK = SamplerSettings(gamma=2000.0, threads=1)


class Listener(Observer):
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def tell(self, message: str) -> None:
        self.lines.append(message)


@pytest.fixture
def data(tmp_path: Path) -> DataSettings:
    save_tiny_model(tmp_path / "model")
    (tmp_path / "text.jsonl").write_text(jsonl(200))
    return DataSettings(dataset=str(tmp_path / "text.jsonl"))


def test_the_default_takes_independent_draws(tmp_path: Path, data: DataSettings) -> None:
    listener = Listener()
    result = estimate(tmp_path / "model", data, QUICK, output_dir=tmp_path / "run", device="cpu", observer=listener)
    assert result.settings.sampler == "importance"
    assert result.llc is not None
    assert result.stderr is not None
    assert any("pairs of draws" in line for line in listener.lines)
    assert not (tmp_path / "run/chains").exists()
    given = estimate(
        tmp_path / "model", data, replace(QUICK, sampler="importance"), output_dir=tmp_path / "other", device="cpu"
    )
    assert (given.llc, given.stderr) == (result.llc, result.stderr)


@pytest.mark.parametrize(
    "asked",
    [
        {"lr": 1e-4}, {"burn_in": 2}, {"momentum": 0.5}, {"draws": 8}, {"thin": 2}, {"start": "anchor"},
        {"gradient": "minibatch"}, {"batches": "independent"}, {"baseline": "paired"},
        {"checks": False}, {"cross_check": "draws"}, {"sampler": "sgld"}, {"gamma": 0.0}, {"n_beta": 0.0},
    ],
)  # fmt: skip
def test_what_only_chains_have_asks_for_chains(asked: dict[str, object]) -> None:
    assert SamplerSettings().tries_draws
    assert not SamplerSettings(**asked).tries_draws  # type: ignore[arg-type]


@pytest.mark.parametrize("asked", [{"gamma": 1.0}, {"chains": 8}, {"cross_check": "sgld"}, {"target_stderr": 0.01}])
def test_what_both_have_does_not(asked: dict[str, object]) -> None:
    assert SamplerSettings(**asked).tries_draws  # type: ignore[arg-type]


def test_chains_take_over_where_the_first_draws_do_not_serve(
    tmp_path: Path, data: DataSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hf_llc.measures.llc.draws.choice.why_not", lambda summary: "they leave λ̂ open.")
    monkeypatch.setattr("hf_llc.settings.sampler.CHAIN_DRAWS", 8)
    listener = Listener()
    result = estimate(tmp_path / "model", data, QUICK, output_dir=tmp_path / "run", device="cpu", observer=listener)
    assert result.settings.sampler not in {"importance", "auto"}
    assert (result.settings.gamma, result.settings.draws, result.settings.chains) == (2000.0, 8, 4)
    assert "independent draws do not apply here: they leave" in result.choices["draws"]
    assert any("Chains are sampled" in line for line in listener.lines)
    # The same call again finds all of it.
    again = estimate(tmp_path / "model", data, QUICK, output_dir=tmp_path / "run", device="cpu")
    assert (again.llc, again.settings) == (result.llc, result.settings)


def test_chains_take_over_where_all_draws_do_not_serve(
    tmp_path: Path, data: DataSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "run"
    draws = estimate(tmp_path / "model", data, QUICK, output_dir=run, device="cpu")
    assert draws.settings.sampler == "importance"
    monkeypatch.setattr("hf_llc.measures.llc.draws.choice.why_not_in_the_end", lambda summary: "they leave λ̂ open.")
    monkeypatch.setattr("hf_llc.settings.sampler.CHAIN_DRAWS", 8)
    listener = Listener()
    # Also where an earlier version has taken the draws for the end of it.
    result = estimate(tmp_path / "model", data, QUICK, output_dir=run, device="cpu", observer=listener)
    assert result.settings.sampler not in {"importance", "auto"}
    assert (result.settings.gamma, result.settings.draws) == (2000.0, 8)
    assert "independent draws do not apply here: they leave λ̂ open." in result.choices["draws"]
    assert any("Chains are sampled" in line for line in listener.lines)
    anew = estimate(tmp_path / "model", data, QUICK, output_dir=tmp_path / "anew", device="cpu")
    assert (anew.llc, anew.stderr) == (result.llc, result.stderr)
    before = files_of(run / "chains")
    estimate(tmp_path / "model", data, QUICK, output_dir=run, device="cpu")
    assert files_of(run / "chains") == before


def test_the_first_draws_apply_unless_much_is_undetermined_or_not_quadratic() -> None:
    pair = LossPair(counts=(1,), anchor=1.0, anchor_square=1.0, up=(0.1,), down=(0.1,), squared_distance=1.0)
    slope = GradientPair(even=1e-3, odd=1e-3, radial=0.1, rise=0.1)
    summary = summarise_draws([pair, pair], [slope, slope], n=1, n_beta=100.0, gamma=1e4)
    assert choice.why_not(summary) is None
    assert "only to ± 0.51" in (choice.why_not(replace(summary, open=0.51, open_slope=0.0)) or "")
    assert choice.why_not(replace(summary, open=0.51, open_slope=0.4)) is None
    # No bend narrows that where gradients miss jumps.
    jumping = replace(summary, open=0.51, open_slope=0.4, by_losses=True)
    assert "only to ± 0.51" in (choice.why_not(jumping) or "")
    # Of what corrects the mean two thirds may be counted too much where all of the rise is of another degree.
    bent = replace(summary, beyond=summary.beyond._replace(mean=-5.0))
    assert choice.why_not(bent) is None
    steep = replace(bent, slope=summary.slope._replace(mean=1.6))
    assert "50% is not quadratic" in (choice.why_not(steep) or "")
    assert choice.why_not(replace(steep, slope=summary.slope._replace(mean=1.2))) is None
    assert choice.why_not(replace(steep, by_losses=True)) is None
    assert "inf or NaN" in (choice.why_not(replace(summary, llc=None)) or "")


@pytest.mark.parametrize(("llc", "left_open", "serves"), [(-15.0, 41.0, False), (-15.0, 14.0, True), (0.1, 0.9, True)])
def test_all_draws_serve_unless_they_leave_more_than_the_number(llc: float, left_open: float, serves: bool) -> None:
    pair = LossPair(counts=(1,), anchor=1.0, anchor_square=1.0, up=(0.1,), down=(0.1,), squared_distance=1.0)
    slope = GradientPair(even=1e-3, odd=1e-3, radial=0.1, rise=0.1)
    summary = summarise_draws([pair, pair], [slope, slope], n=1, n_beta=100.0, gamma=1e4)
    reason = choice.why_not_in_the_end(replace(summary, llc=llc, open=left_open))
    assert reason == (None if serves else "all of them together determine λ̂ = -15 only to ± 41.")


def test_each_checkpoint_of_a_series_uses_draws_where_they_apply_and_chains_elsewhere(
    tmp_path: Path, data: DataSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_tiny_model(tmp_path / "other", seed=1)
    models = [ModelSettings(model=str(tmp_path / name)) for name in ("other", "model")]
    series = estimate_series(models, data, QUICK, output_dir=tmp_path / "curve", processes=1, device="cpu")
    assert {each.settings.sampler for each in series} == {"importance"}
    alone = estimate(tmp_path / "model", data, QUICK, output_dir=tmp_path / "run", device="cpu")
    assert series[1].llc == alone.llc
    losses = {each.model: each.diagnostics.prior_llc for each in series}

    def why_not(summary: DrawSummary) -> str | None:
        return "they leave λ̂ open" if summary.prior_mean.mean == losses[str(tmp_path / "other")] else None

    monkeypatch.setattr("hf_llc.measures.llc.draws.choice.why_not", why_not)
    monkeypatch.setattr("hf_llc.settings.sampler.CHAIN_DRAWS", 8)
    listener = Listener()
    mixed = estimate_series(
        models, data, QUICK, output_dir=tmp_path / "mixed", processes=1, device="cpu", observer=listener
    )
    assert mixed[0].settings.sampler not in {"importance", "auto"}
    assert mixed[1].llc == alone.llc
    assert [each.settings.gamma for each in mixed] == [2000.0, 2000.0]
    assert any("they leave λ̂ open" in line for line in listener.lines)


def test_gamma_of_a_series_is_that_of_its_last_checkpoint(tmp_path: Path, data: DataSettings) -> None:
    save_tiny_model(tmp_path / "other", seed=1)
    models = [ModelSettings(model=str(tmp_path / name)) for name in ("other", "model")]
    open_ = replace(QUICK, gamma=None)
    series = estimate_series(models, data, open_, output_dir=tmp_path / "curve", processes=1, device="cpu")
    alone = estimate(tmp_path / "model", data, open_, output_dir=tmp_path / "run", device="cpu")
    assert {each.settings.gamma for each in series} == {alone.settings.gamma}
    assert series[1].llc == alone.llc


def test_short_chains_of_sgld_are_laid_beside_the_draws(tmp_path: Path, data: DataSettings) -> None:
    asked = replace(QUICK, cross_check="sgld", batch_size=16)
    result = estimate(tmp_path / "model", data, asked, output_dir=tmp_path / "run", device="cpu")
    other = result.cross_check
    assert other is not None
    assert result.llc is not None
    assert result.stderr is not None
    assert other["method"] == "sgld"
    assert abs(other["llc"] - result.llc) < 4 * (other["stderr"] ** 2 + result.stderr**2) ** 0.5
    without = estimate(
        tmp_path / "model", data, replace(asked, cross_check=None), output_dir=tmp_path / "run", device="cpu"
    )
    assert (without.llc, without.cross_check) == (result.llc, None)


@pytest.mark.parametrize(
    ("asked", "text"),
    [
        ({"sampler": "importance", "cross_check": "lanczos"}, "cross_check lanczos goes with chains"),
        ({"sampler": "sgld", "cross_check": "sgld"}, "cross_check sgld goes with independent draws"),
    ],
)
def test_a_cross_check_that_does_not_fit_is_refused(asked: dict[str, str], text: str) -> None:
    with pytest.raises(SettingsError, match=text):
        SamplerSettings(**asked)  # type: ignore[arg-type]


def test_the_forecast_of_draws_counts_pairs_and_times_the_model(tmp_path: Path, data: DataSettings) -> None:
    expected = forecast(ModelSettings(model=str(tmp_path / "model")), data, QUICK, device="cpu")
    assert (expected.pairs, expected.processes) == (8, 1)
    assert 1 < expected.seconds < 60
    assert expected.pairs_in_15_minutes is not None
    assert expected.pairs_in_15_minutes > 100
    given = forecast(
        ModelSettings(model=str(tmp_path / "model")), data, replace(QUICK, sampler="importance", draws=20), device="cpu"
    )
    assert given.pairs == 80
    chains = forecast(ModelSettings(model=str(tmp_path / "model")), data, replace(QUICK, draws=8), device="cpu")
    assert asdict(chains)["pairs"] is None


def test_minibatches_of_one_do_not_tell_how_a_mixture_of_experts_varies(
    tmp_path: Path, data: DataSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hf_llc.execution.loaded_model.LoadedModel.routers", ["layers.0.router"])
    asked = replace(QUICK, sampler="importance", batch_size=1)
    with pytest.raises(SettingsError, match=r"batch_size must be ≥ 2 .*got 1: .*layers\.0\.router.* 2 or more"):
        estimate(tmp_path / "model", data, asked, output_dir=tmp_path / "run", device="cpu")
