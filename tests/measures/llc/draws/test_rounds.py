"""Independent draws in rounds: how many there are, when they end, and that whoever goes on has the same numbers."""

import json
import math
from collections.abc import Callable
from dataclasses import replace
from itertools import count, pairwise
from pathlib import Path
from time import monotonic
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from hf_llc import DataSettings, Estimate, ModelSettings, Observer, estimate
from hf_llc.errors import DivergedError, ResourceError, SettingsError, UnusableError
from hf_llc.execution import machine
from hf_llc.execution.loaded_model import LoadedModel
from hf_llc.execution.plan import Plan
from hf_llc.execution.planning import plan
from hf_llc.execution.store import RunStore
from hf_llc.measures.llc.draws import rounds
from hf_llc.measures.llc.draws.amounts import Amount
from hf_llc.measures.llc.draws.estimate import loss_at_anchor
from hf_llc.measures.llc.draws.rounds import Sample
from hf_llc.measures.llc.estimation import collect, is_finished
from hf_llc.measures.run import run_all
from hf_llc.results.estimate import Verdict
from hf_llc.sampling.draws.prior import LossPair, minibatch
from tests.helpers.learned_model import BY_DRAWS, SEQUENCES, WEIGHTS, save_learned_model
from tests.helpers.tiny_model import jsonl, make_model, make_tokenizer


class Heard(Observer):
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def tell(self, message: str) -> None:
        self.lines.append(message)


@pytest.fixture(autouse=True)
def surroundings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A cache and a working directory of this test's own."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a model that has learned its text, and the text."""
    folder = tmp_path_factory.mktemp("rounds")
    save_learned_model(folder / "model", folder / "text.jsonl")
    return folder


@pytest.fixture(scope="module")
def default(place: Path) -> Estimate:
    """The estimate of the settings as they are; its folder is not to be changed."""
    return estimate(str(place / "model"), data_in(place), BY_DRAWS, output_dir=place / "default")


def data_in(place: Path) -> DataSettings:
    return DataSettings(dataset=str(place / "text.jsonl"))


def drawn(place: Path, folder: str | Path = "run", observer: Observer | None = None, **changed: Any) -> Estimate:
    """The estimate with changed settings, in a folder below the working directory."""
    sampler = replace(BY_DRAWS, **changed)
    return estimate(str(place / "model"), data_in(place), sampler, output_dir=Path(folder), observer=observer)


def planned(place: Path, **changed: Any) -> Plan:
    return plan(ModelSettings(model=str(place / "model")), data_in(place), replace(BY_DRAWS, **changed))


def files(folder: str | Path) -> dict[str, bytes]:
    """The parts of a run by name, the summary apart."""
    names = sorted(Path(folder).rglob("*.json"))
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in names
        if path.name not in {"estimate.json", "traces.json"}
    }


def amount_in(folder: str | Path) -> Amount:
    """How many parts of each kind there are."""
    names = list(files(folder))
    return Amount(*(sum(name.startswith(f"{kind}/") for name in names) for kind in ("draws", "gradients", "bends")))


def numbers(outcome: Estimate) -> dict[str, Any]:
    """All that a run says but clocks and folders."""
    stored = dict(outcome.to_dict())
    del stored["seconds"], stored["run_dir"]
    return stored


@pytest.fixture
def amounts(monkeypatch: pytest.MonkeyPatch) -> list[Amount]:
    """What the rounds of one run were."""
    seen: list[Amount] = []
    plain = rounds._round

    def watched(store: RunStore, amount: Amount, *rest: Any) -> Any:
        seen.append(amount)
        return plain(store, amount, *rest)

    monkeypatch.setattr("hf_llc.measures.llc.draws.rounds._round", watched)
    return seen


def test_the_default_ends_at_five_percent_and_each_round_is_twice_the_work(
    place: Path, default: Estimate, amounts: list[Amount]
) -> None:
    result = drawn(place)
    assert numbers(result) == numbers(default)
    assert result.llc is not None
    assert result.stderr is not None
    assert result.llc > 2
    assert result.stderr <= 0.05 * result.llc
    assert result.verdict is Verdict.CONVERGED
    assert result.settings.target_stderr == 0.05
    assert amounts[0] == (8, 4, 0)
    assert len(amounts) >= 3
    for before, after in pairwise(amounts):
        # The first bends are a round of their own.
        assert after.cost >= 2 * before.cost or after == before._replace(bends=4)
        assert all(more >= fewer for fewer, more in zip(before, after, strict=True))
    assert amount_in("run") == amounts[-1]


def test_below_one_the_wanted_error_is_a_share_of_one(place: Path, amounts: list[Amount]) -> None:
    result = drawn(place, gamma=3e4)
    assert result.llc is not None
    assert result.stderr is not None
    assert abs(result.llc) < 0.5
    assert 0.05 * abs(result.llc) < result.stderr <= 0.05
    assert amounts == [(8, 4, 0)]


def test_the_number_is_that_of_weighted_draws_over_all_sequences(place: Path, default: Estimate) -> None:
    whole = drawn(place, gamma=BY_DRAWS.gamma, batch_size=SEQUENCES, chains=4, draws=16, seed=1)
    assert whole.diagnostics.weighted_llc is not None
    assert whole.diagnostics.weighted_llc_stderr is not None
    assert (whole.diagnostics.pareto_k or math.inf) < 0.7
    assert default.llc is not None
    assert default.stderr is not None
    joint = math.hypot(default.stderr, whole.diagnostics.weighted_llc_stderr)
    assert joint < 0.1 * default.llc
    assert abs(default.llc - whole.diagnostics.weighted_llc) < 3 * joint


@pytest.mark.parametrize(("chains", "first"), [(2, 8), (3, 9), (10, 10), (16, 16)])
def test_the_first_round_is_a_multiple_of_the_chains(place: Path, chains: int, first: int) -> None:
    result = drawn(place, chains=chains, target_stderr=100.0)
    assert amount_in("run") == (first, 4, 0)
    assert (result.settings.chains, result.settings.draws) == (chains, first // chains)
    assert len(result.chains) == chains


def test_chains_and_draws_that_are_given_are_that_many_pairs(place: Path) -> None:
    result = drawn(place, chains=3, draws=5)
    assert amount_in("run").losses == 15
    assert (result.settings.chains, result.settings.draws, result.diagnostics.ess) == (3, 5, 15)
    assert result.settings.target_stderr is None
    # What corrects their mean is known better than the mean.
    d = result.diagnostics
    assert d.gradient_pairs is not None
    assert d.gradient_pairs <= 15
    assert d.narrowing_llc_stderr is not None
    assert d.prior_llc_stderr is not None
    assert d.narrowing_llc_stderr < d.prior_llc_stderr


def test_a_smaller_target_goes_on_with_the_same_draws(place: Path, default: Estimate) -> None:
    fewer = drawn(place, target_stderr=0.2)
    before = files("run")
    assert numbers(drawn(place)) == numbers(default)
    assert before.items() < files("run").items()
    assert amount_in("run") == amount_in(place / "default")
    # And back: the number is that of the draws that were asked for.
    assert numbers(drawn(place, target_stderr=0.2)) == numbers(fewer)


@pytest.mark.parametrize("harm", ["delete", "flip"])
def test_parts_that_are_lost_or_changed_are_made_again_to_the_same_numbers(
    place: Path, default: Estimate, harm: str
) -> None:
    drawn(place)
    whole = files("run")
    for name in ("draws/00001.json", "draws/00017.json", "gradients/00002.json", "bends/00000.json", "prior.json"):
        path = Path("run") / name
        if harm == "delete":
            path.unlink()
        else:
            content = bytearray(path.read_bytes())
            # The first digit of what it holds: the last one of a number may be none that a float has.
            first = content.index(b'"payload"')
            digit = next(place for place in range(first, len(content)) if chr(content[place]).isdigit())
            content[digit] ^= 1
            path.write_bytes(content)
    heard = Heard()
    assert numbers(drawn(place, observer=heard)) == numbers(default)
    assert payloads(files("run")) == payloads(whole)
    assert sum("is damaged" in line for line in heard.lines) == (5 if harm == "flip" else 0), heard.lines


def payloads(parts: dict[str, bytes]) -> dict[str, Any]:
    """What parts hold, without what a clock says."""
    results = {}
    for name, content in parts.items():
        payload = json.loads(content)["payload"]
        results[name] = {key: value for key, value in payload.items() if "seconds" not in key}
    return results


@pytest.mark.parametrize(
    "changed",
    [
        {"chains": 9}, {"draws": 5}, {"target_stderr": 0.01}, {"budget_seconds": 60.0}, {"lr": 1e-4}, {"burn_in": 50},
        {"start": "both"}, {"checks": False}, {"momentum": 0.5}, {"thin": 3}, {"micro_batch_size": 2},
        {"baseline": "linear"}, {"chains": 2, "threads": None},
    ],
)  # fmt: skip
def test_the_key_does_not_depend_on_how_many_draws_there_are(
    place: Path, changed: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine, "cores", lambda: 16)
    plain = {"threads": None} if "threads" in changed else {}
    assert planned(place, **changed).key == planned(place, **plain).key


@pytest.mark.parametrize(
    "changed",
    [
        {"gamma": 999.0}, {"gamma": None}, {"n_beta": 31.0}, {"seed": 1}, {"batch_size": 4}, {"params": ("*mlp*",)},
        {"dtype": "bfloat16"}, {"sampler": "sgld"}, {"devices_per_chain": 2}, {"threads": 2},
    ],
)  # fmt: skip
def test_the_key_depends_on_what_the_draws_depend_on(place: Path, changed: dict[str, Any]) -> None:
    assert planned(place, **changed).key != planned(place).key


def test_settings_of_chains_are_said_to_be_of_no_use(place: Path, default: Estimate) -> None:
    heard = Heard()
    result = drawn(place, observer=heard, lr=1e-4, burn_in=50, start="both")
    assert result.llc == default.llc
    assert heard.lines[0] == "`sampler=importance` runs no chains: lr, start, burn_in are ignored."


def test_only_the_parameters_that_match_move(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pattern = "*attention*weight"
    results = planned(place, params=(pattern,))
    bench = LoadedModel(results, "cpu")
    moving = list(bench.objective.parameters)
    others: dict[int, torch.Tensor] = {}
    plain = bench.objective.losses

    def watched(indices: torch.Tensor) -> torch.Tensor:
        others.update((id(each), each.detach().clone()) for each in moving)
        return plain(indices)

    monkeypatch.setattr(bench.objective, "losses", watched)
    monkeypatch.setattr("hf_llc.measures.schedule.LoadedModel", lambda *_, **__: bench)
    monkeypatch.setattr("hf_llc.measures.llc.estimation.LoadedModel", lambda *_, **__: bench)
    before = [each.detach().clone() for each in moving]
    result = drawn(place, params=(pattern,), target_stderr=100.0)
    assert result.diagnostics.dimension == sum(map(torch.numel, moving)) < WEIGHTS
    assert result.diagnostics.distance == pytest.approx(math.sqrt(result.diagnostics.dimension / 1000), rel=0.1)
    # The draws were elsewhere, and at the end the weights are w* again.
    assert not any(torch.equal(others[id(each)], was) for each, was in zip(moving, before, strict=True))
    assert all(torch.equal(each, was) for each, was in zip(moving, before, strict=True))


def test_bfloat16_costs_little_where_the_loss_rises_by_a_tenth(place: Path, default: Estimate) -> None:
    result = drawn(place, dtype="bfloat16", chains=4, draws=8)
    exact = drawn(place, "float32", chains=4, draws=8)
    assert result.llc is not None
    assert exact.llc is not None
    assert exact.stderr is not None
    assert result.llc != exact.llc
    # Common random numbers: what is left is rounding, 0.4 % of a logit, in the mean over 32 pairs of 512 tokens.
    assert abs(result.llc - exact.llc) < 0.3 * exact.stderr


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Time that passes with the parts that are made."""
    ticks = count(10**9)
    fake = SimpleNamespace(time=lambda: next(ticks), monotonic=monotonic)
    monkeypatch.setattr("hf_llc.measures.llc.draws.rounds.time", fake)
    monkeypatch.setattr("hf_llc.execution.planning.time", fake)


def test_a_budget_ends_between_parts_and_what_is_there_makes_the_number(place: Path, clock: None) -> None:
    heard = Heard()
    result = drawn(place, observer=heard, budget_seconds=40.0, target_stderr=1e-3)
    amount = amount_in("run")
    assert 25 < sum(amount) < 40
    assert (result.diagnostics.ess, result.settings.target_stderr) == (amount.losses, None)
    assert result.llc is not None
    assert 2.5 < result.llc < 4
    assert heard.lines[-1].endswith("; the time is up")
    kept = files("run")
    # Without a budget the same command goes on from there.
    more = drawn(place)
    assert kept.items() < files("run").items()
    assert more.stderr is not None
    assert result.stderr is not None
    assert more.stderr < result.stderr


def test_a_budget_begins_with_the_command(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What it takes to find the model and to pack the text is a part of it."""
    now = iter([1000.0, 1060.0, 1060.0])
    monkeypatch.setattr("hf_llc.execution.planning.time", SimpleNamespace(time=lambda: next(now)))
    assert planned(place, budget_seconds=90.0).deadline == 1090.0


def test_a_checkpoint_of_a_series_ends_with_its_share_of_the_time(place: Path, clock: None) -> None:
    result = replace(planned(place, budget_seconds=60.0, target_stderr=1e-3), followers=1)
    run_all([result], processes=1, observer=Observer())
    assert 20 < sum(amount_in(result.run_dir)) < 32
    assert is_finished(result)
    assert collect(result, Observer(), 0.0).llc is not None
    # A later command, with time of its own or without a limit, goes on.
    assert result.deadline is not None
    assert not is_finished(replace(result, deadline=result.deadline + 1))
    assert not is_finished(replace(result, deadline=None))


def test_a_budget_that_is_too_short_for_a_number_is_told_in_one_line(place: Path, clock: None) -> None:
    with pytest.raises(
        ResourceError,
        match=r"^A number needs \d pairs of draws .* and \d with gradients, got \d and \d: raise",
    ):
        drawn(place, budget_seconds=7.0)
    assert 0 < sum(amount_in("run")) < 6
    assert drawn(place, budget_seconds=7.0).llc is not None


def pairs_of(losses: torch.Tensor, size: int, number: int) -> list[LossPair]:
    """Pairs of which only the losses at w* are of interest."""
    results = []
    for pair in range(number):
        anchors = losses[minibatch(len(losses), size, 0, pair)]
        results.append(
            LossPair(
                counts=(size,),
                anchor=float(anchors.mean()),
                anchor_square=float(anchors.square().mean()),
                up=(0.0,),
                down=(0.0,),
                squared_distance=1.0,
            )
        )
    return results


@pytest.mark.parametrize("size", [1, 5, 8, 50])
def test_the_loss_at_w_star_has_an_error_until_all_sequences_were_seen(size: int) -> None:
    losses = torch.rand(50, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    truth, epoch = float(losses.mean()), 50 // size
    for number in range(1, 3 * epoch + 2):
        sample = Sample(losses=pairs_of(losses, size, number), gradients=[], bends=[], seconds=0.0)
        value, error = loss_at_anchor(sample, 50)
        if number >= epoch and 50 % size == 0:
            assert value == pytest.approx(truth, rel=1e-12)
            assert error == 0
        elif number * size > 4:
            assert 0 < error < 0.5 / math.sqrt(number * size // max(1, number // epoch))
            assert abs(value - truth) < 4 * error


def test_an_estimate_has_that_loss(place: Path, default: Estimate) -> None:
    whole = drawn(place, batch_size=10, chains=5, draws=4)
    bench = LoadedModel(planned(place), "cpu")
    truth = float(bench.objective.losses(torch.arange(SEQUENCES)).double().mean())
    assert whole.init_loss == pytest.approx(truth, rel=1e-6)
    assert whole.init_loss_stderr == 0
    # 32 pairs of 8 are five orders of 48 of the 50.
    assert default.init_loss_stderr is not None
    assert 0 < default.init_loss_stderr < 0.02
    assert abs(default.init_loss - truth) < 4 * default.init_loss_stderr


@pytest.mark.parametrize("kind", ["losses", "losses_and_gradient"])
@pytest.mark.parametrize("value", [math.inf, math.nan])
def test_losses_that_are_no_number_at_draws_leave_no_number(
    place: Path, monkeypatch: pytest.MonkeyPatch, kind: str, value: float
) -> None:
    result = planned(place)
    bench = LoadedModel(result, "cpu")
    center = bench.objective.parameters[0].detach().clone()
    plain: Callable[[torch.Tensor], torch.Tensor] = getattr(bench.objective, kind)

    def broken(indices: torch.Tensor) -> torch.Tensor:
        losses = plain(indices)
        return losses if torch.equal(bench.objective.parameters[0], center) else losses * value

    monkeypatch.setattr(bench.objective, kind, broken)
    monkeypatch.setattr("hf_llc.measures.llc.estimation.LoadedModel", lambda *_, **__: bench)
    with pytest.raises(DivergedError, match=r"^No number: at draws .* is inf or NaN.* Raise `gamma` \(now 1e\+03\)"):
        drawn(place)
    stored = json.loads(Path("run/estimate.json").read_bytes())["payload"]
    assert (stored["llc"], stored["stderr"], stored["verdict"]) == (None, None, "diverged")
    assert Estimate.from_dict(stored).verdict is Verdict.DIVERGED


def test_weights_whose_own_loss_is_no_number_are_refused(place: Path) -> None:
    broken = make_model(hidden=8)
    with torch.no_grad():
        broken.gpt_neox.embed_in.weight[100:] = float("nan")
    broken.save_pretrained("broken")
    make_tokenizer().save_pretrained("broken")
    with pytest.raises(UnusableError, match=r"loss of .*broken is inf or NaN on this data: check its weights"):
        estimate("broken", data_in(place), BY_DRAWS)


@pytest.mark.parametrize("changed", [{"gamma": 0.0}, {"n_beta": 0.0}])
def test_without_a_prior_or_a_loss_there_is_nothing_to_draw_from(place: Path, changed: dict[str, Any]) -> None:
    with pytest.raises(
        SettingsError, match=r"^`sampler=importance` draws from .*: set `n_beta` and `gamma` above 0\.$"
    ):
        drawn(place, **changed)


@pytest.mark.parametrize(
    ("documents", "batch_size", "chains"), [(6, None, 2), (8, None, 4), (8, 1, 10), (8, 2, 2), (20, 3, 4)]
)
def test_a_text_of_a_few_sequences_has_a_number(
    place: Path, documents: int, batch_size: int | None, chains: int
) -> None:
    Path("few.jsonl").write_text(jsonl(documents))
    sampler = replace(BY_DRAWS, n_beta=2.0, batch_size=batch_size, chains=chains)
    result = estimate(str(place / "model"), DataSettings(dataset="few.jsonl"), sampler)
    assert result.llc is not None
    assert result.stderr is not None
    assert 0 < result.stderr <= 0.05 * max(1, abs(result.llc))
    if result.settings.batch_size == result.settings.n:
        assert result.init_loss_stderr == 0


def test_another_runs_folder_is_refused(place: Path) -> None:
    drawn(place, target_stderr=100.0)
    with pytest.raises(ResourceError, match=r"sampler\.seed: there 0, here 1"):
        drawn(place, target_stderr=100.0, seed=1)


def test_each_round_leaves_a_number_for_whoever_ends_it(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain, results = rounds._Maker.__call__, count()

    def interrupted(self: rounds._Maker, name: str) -> dict[str, Any]:
        if next(results) == 30:
            raise KeyboardInterrupt
        return plain(self, name)

    monkeypatch.setattr(rounds._Maker, "__call__", interrupted)
    with pytest.raises(KeyboardInterrupt):
        drawn(place, target_stderr=0.01)
    kept = Estimate.from_dict(json.loads(Path("run/estimate.json").read_bytes())["payload"])
    assert kept.llc is not None
    assert 2 < kept.llc < 4
    assert kept.settings.target_stderr is None
    assert sum(amount_in("run")) == 30
