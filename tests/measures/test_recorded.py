"""What is read of recorded losses, and what is made of them, from runs of a tiny model."""

import math
import shutil
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from hf_llc import DataSettings, Estimate, SamplerSettings, estimate, fluctuation, influence, loss_gain
from hf_llc import susceptibilities as susceptibilities_of
from hf_llc.errors import DivergedError, NotFoundError, ResourceError, SettingsError
from hf_llc.execution.store import RunStore
from hf_llc.measures.recorded import read_recorded
from hf_llc.results.matrix import MatrixVerdict, excerpt
from hf_llc.results.susceptibility import Susceptibility
from tests.helpers.learned_model import BY_DRAWS, SEQUENCES, save_learned_model

DRAWS = replace(BY_DRAWS, keep=("losses",), recorded_draws=80)
CHAINS = SamplerSettings(
    gamma=1000.0,
    n_beta=30.0,
    lr=1e-3,
    batch_size=8,
    chains=4,
    draws=12,
    burn_in=4,
    threads=1,
    checks=False,
    keep=("losses",),
)


@pytest.fixture(autouse=True)
def surroundings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A working directory of this test's own."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a model that has learned its text, the text, and runs of it, none of which is to be changed."""
    folder = tmp_path_factory.mktemp("recorded")
    save_learned_model(folder / "model", folder / "text.jsonl")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("huggingface_hub.constants.HF_HOME", str(folder / "home"))
        run(folder, "runs/full", DRAWS)
        run(folder, "runs/mlp", replace(DRAWS, component="l0.mlp"))
        run(folder, "runs/head", replace(DRAWS, component="l0h0"))
        run(folder, "tokens", replace(DRAWS, keep=("token-losses",), recorded_draws=16))
        run(folder, "chains", CHAINS)
        run(folder, "without", BY_DRAWS)
    return folder


def run(place: Path, folder: str, sampler: SamplerSettings) -> Estimate:
    data = DataSettings(dataset=str(place / "text.jsonl"))
    return estimate(str(place / "model"), data, sampler, output_dir=place / folder)


def files(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_the_loss_gain_on_all_items_is_the_llc(place: Path) -> None:
    result = run(place, "runs/full", DRAWS)
    gain = loss_gain(result)
    assert result.llc is not None
    assert result.stderr is not None
    assert gain.items == SEQUENCES
    assert abs(gain.value - result.llc) < 3 * (gain.stderr + result.stderr)
    some = loss_gain(result, items=[0, 3])
    assert some.items == 2
    recorded = read_recorded(result).draws
    assert recorded.log_weights is not None
    weights = torch.softmax(recorded.log_weights.flatten(), dim=0)
    assert some.value == pytest.approx(
        30 * float(weights @ recorded.rises[..., [0, 3]].double().mean(-1).flatten()), rel=0.02
    )


def test_chains_are_groups_and_pairs_are(place: Path) -> None:
    chains, pairs = read_recorded(place / "chains"), read_recorded(place / "runs/full")
    assert chains.draws.rises.shape == (4, 12, SEQUENCES)
    assert chains.draws.is_chains
    assert chains.control is None
    assert pairs.draws.rises.shape == (40, 2, SEQUENCES)
    assert pairs.control is not None
    assert (pairs.draws.n_beta, pairs.control.n_beta) == (30.0, 0.0)
    assert pairs.control.log_weights is not None
    # The slope at w* is small: draws near the posterior are nearly draws of the prior.
    weights = torch.softmax(pairs.control.log_weights.flatten(), dim=0)
    assert 40 < float(1 / weights.square().sum()) <= 80


def test_influence_is_minus_the_covariance_of_the_recorded_losses(place: Path) -> None:
    result = influence(place / "runs/full")
    draws = read_recorded(place / "runs/full").draws
    assert draws.log_weights is not None
    weights = torch.softmax(draws.log_weights.flatten(), dim=0)
    rises = draws.rises.double().flatten(0, 1)
    centred = rises - weights @ rises
    covariance = (centred * weights[:, None]).T @ centred
    expected = -30.0 / SEQUENCES * covariance
    # What is left is the correction for the finite number of draws.
    assert torch.allclose(
        torch.from_numpy(result.influence), expected, rtol=0.1, atol=0.1 * float(expected.abs().max())
    )
    assert result.names[0] == excerpt(read_recorded(place / "runs/full").labels[0])


def test_classes_are_lines_of_a_file_kinds_of_tokens_or_a_list(place: Path, tmp_path: Path) -> None:
    classes = ["first" if number < 10 else "rest" for number in range(SEQUENCES)]
    (tmp_path / "classes.txt").write_text("\n".join(classes) + "\n")
    listed, read = influence(place / "runs/full", by=classes), influence(place / "runs/full", by="classes.txt")
    assert listed.names == read.names == ("first", "rest")
    assert (listed.influence == read.influence).all()
    tokens = influence(place / "tokens", by="token")
    assert 1 < len(tokens.names) <= 101


@pytest.mark.parametrize(
    ("folder", "arguments", "error", "message"),
    [
        ("runs/full", {"by": "token"}, SettingsError, "needs recorded token-losses"),
        ("runs/full", {"by": ["a"] * 3}, SettingsError, f"a class for each of the {SEQUENCES} items, got 3"),
        ("runs/full", {"by": ["a"] * SEQUENCES}, SettingsError, "at least two classes"),
        ("runs/full", {"by": "missing.txt"}, NotFoundError, "missing.txt cannot be read"),
        ("runs/full", {"recording": "loses"}, NotFoundError, "recording must be one of losses, got loses"),
        ("tokens", {}, SettingsError, "recorded items; name classes of them with `by`"),
        ("without", {}, NotFoundError, "has no recorded losses: run its command again with `keep=losses`"),
        ("nowhere", {}, NotFoundError, "is not there"),
    ],
)
def test_what_cannot_be_is_refused(
    place: Path, folder: str, arguments: dict[str, Any], error: type[Exception], message: str
) -> None:
    before = files(place / "runs")
    with pytest.raises(error, match=message):
        influence(place / folder, **arguments)
    assert files(place / "runs") == before


def test_susceptibilities_have_a_row_a_component(place: Path) -> None:
    result = susceptibilities_of(place / "runs")
    assert sorted(result.components) == ["l0.mlp", "l0h0"]
    assert result.covariance.shape == result.shift_stderr.shape == (2, SEQUENCES)
    assert result.control is not None
    assert not result.items_are_tokens
    named = susceptibilities_of([place / "runs/full", place / "runs/head"])
    row = result.components.index("l0h0")
    assert (named.covariance[0] == result.covariance[row]).all()
    # Per item they add up to what the mean loss does with itself less its own variance: φ·(mean ℓ − L) is 0.
    assert abs(result.covariance.mean(axis=1)).max() < 1e-6 * abs(result.covariance).max()


def test_a_text_says_where_tokens_without_a_loss_are_left_out(place: Path) -> None:
    sampler = replace(DRAWS, keep=("token-losses",), recorded_draws=16)
    run(place, "texts/head", replace(sampler, component="l0h0"))
    result = susceptibilities_of([place / "tokens", place / "texts/head"])
    recorded = read_recorded(place / "tokens")
    assert result.gaps == tuple(index for index, (_, token) in enumerate(recorded.places) if token == 1)
    assert len(result.gaps) == SEQUENCES
    assert Susceptibility.from_dict(result.to_dict()).gaps == result.gaps
    shown = [text.get_text() for text in result.text("l0h0").axes[0].texts if text.get_fontfamily() == ["monospace"]]
    assert shown[:2] == ["[…]", result.items[0].replace("\n", "↵")]
    between = result.gaps[1]
    assert shown.index("[…]", 1) == between + 1


@pytest.mark.parametrize(
    ("folders", "message"),
    [
        (["runs/full"], "need runs that moved a component beside"),
        (["runs/head", "runs/mlp"], "need a run that moved all weights"),
        (["runs/head", "runs"], "both moved l0h0; name one of them"),
        (["runs", "other"], "differs from .* in n_beta, gamma; run both"),
    ],
)
def test_runs_that_do_not_go_together_are_refused(place: Path, folders: list[str], message: str) -> None:
    if "other" in folders:
        run(place, "other", replace(DRAWS, component="l0h1", gamma=2000.0, n_beta=20.0, recorded_draws=8))
    with pytest.raises((SettingsError, NotFoundError), match=message):
        susceptibilities_of([place / folder for folder in folders])


def test_waic_and_singular_fluctuation_are_of_the_data_of_the_posterior(place: Path) -> None:
    result = fluctuation(place / "runs/full")
    draws = read_recorded(place / "runs/full").draws
    assert draws.log_weights is not None
    weights = torch.softmax(draws.log_weights.flatten(), dim=0)
    rises = draws.rises.double().flatten(0, 1)
    variance = float((weights[:, None] * (rises - weights @ rises).square()).sum())
    assert result.functional_variance == pytest.approx(variance, rel=0.1)
    assert result.loss < result.bayes_loss < result.gibbs_loss
    with pytest.raises(SettingsError, match="tokens are not"):
        fluctuation(place / "tokens")


def test_a_damaged_part_is_named_and_left_as_it_is(place: Path) -> None:
    run(place, "damaged", DRAWS)
    part = place / "damaged/recorded/losses/draws/0001.safetensors"
    part.write_bytes(part.read_bytes()[:-1])
    before = files(place / "damaged")
    with pytest.raises(ResourceError, match=r"0001\.json is damaged; run the command of that run again"):
        influence(place / "damaged")
    assert files(place / "damaged") == before


def test_a_missing_part_is_not_passed_over(place: Path) -> None:
    run(place, "gap", DRAWS)
    (place / "gap/recorded/losses/draws/0001.json").unlink()
    with pytest.raises(ResourceError, match="draws has no part 1, only later ones; run the command of that run again"):
        influence(place / "gap")


def test_a_folder_of_runs_is_not_taken_for_one_of_them(place: Path) -> None:
    with pytest.raises(
        NotFoundError, match=r"runs contains other runs: name one of them, such as .*/full, head, mlp\."
    ):
        influence(place / "runs")


def test_chains_as_long_as_it_took_are_read_by_the_folder_of_their_run(place: Path) -> None:
    growing = replace(CHAINS, chains=None, draws=None, budget_seconds=1.0)
    run(place, "growing/full", growing)
    run(place, "growing/head", replace(growing, component="l0h0"))
    assert (place / "growing/full/open/recorded/losses/chains/000.json").exists()
    assert read_recorded(place / "growing/full").draws.is_chains
    assert susceptibilities_of(place / "growing").components == ("l0h0",)


def steep(at: float, value: float) -> Callable[[torch.nn.Linear, Any], Tensor]:
    """Losses that are that value where the first weight is more than so far above 0."""

    def losses(module: torch.nn.Linear, rows: Any) -> Tensor:
        values = (module(rows[0]) - rows[1]).square().mean(dim=1)
        return torch.where(module.weight[0, 0] > at, value, values)

    return losses


def run_of_module(at: float, sampler: SamplerSettings) -> None:
    module = torch.nn.Linear(2, 1, bias=False)
    torch.nn.init.zeros_(module.weight)
    items = torch.randn(2, 32, 2, generator=torch.Generator().manual_seed(0))
    with suppress(DivergedError):
        estimate(module, (items[0], items[1, :, :1]), sampler, losses=steep(at, math.inf), output_dir=Path("steep"))


def test_draws_that_are_left_out_are_told_of_and_resolve_nothing() -> None:
    run_of_module(0.15, replace(DRAWS, gamma=100.0, n_beta=5.0, recorded_draws=800))
    recorded = read_recorded("steep")
    assert 0 < recorded.left_out < 200
    message = f"{recorded.left_out} of 400 pairs of draws, in which a loss is inf or NaN, are left out"
    result = influence("steep")
    assert result.quality.verdict is MatrixVerdict.PARTLY_RESOLVED
    assert result.quality.reason.startswith(message)
    assert result.kernel_quality.reason.startswith(message)
    assert fluctuation("steep").warning == message
    assert message in str(loss_gain("steep"))


@pytest.mark.parametrize("verdict", ["not-equilibrated", "converged", "not-a-minimum"])
def test_draws_of_chains_that_have_not_forgotten_their_start_resolve_nothing(place: Path, verdict: str) -> None:
    shutil.copytree(place / "chains", "run")
    store = RunStore(Path("run"), lambda message: None)
    payload = store.peek("estimate")
    assert payload is not None
    store.write("estimate", {**payload, "verdict": verdict})
    is_other = verdict == "not-equilibrated"
    message = "the chains are not-equilibrated, and their draws not those of the posterior"
    assert (read_recorded("run").caution == message) is is_other
    assert influence("run").quality.reason.startswith(message) is is_other
    assert (message in str(fluctuation("run"))) is is_other


def test_chains_that_fail_before_their_first_draw_are_recorded_as_failed() -> None:
    run_of_module(0.001, replace(CHAINS, gamma=100.0, burn_in=30))
    with pytest.raises(ResourceError, match="0 recorded draws with finite losses, and 8 are needed; in the others"):
        influence("steep")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (" the", "␣the"),
        ("\n\n", "↵↵"),
        ("  ", "␣␣"),
        ("a\tb ", "a→b␣"),
        ("x" * 50, "x" * 39 + "…"),
    ],
)
def test_excerpts_tell_tokens_apart(text: str, expected: str) -> None:
    assert excerpt(text) == expected
