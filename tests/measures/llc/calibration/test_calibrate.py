"""Calibration of losses in closed form: the plateau where there is one, none where there is not, the error wanted."""

import math
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
import torch

from hf_llc.errors import DivergedError, ResourceError, SettingsError
from hf_llc.execution.plan import Plan
from hf_llc.measures.llc.calibration.budget import expected_stderr
from hf_llc.measures.llc.resolution import ResolvedRun
from hf_llc.measures.llc.sensitivity import sensitivity_chains
from hf_llc.measures.llc.summarise import Judged, judged
from hf_llc.measures.llc.validation.exact import quadratic_llc
from hf_llc.measures.llc.validation.problems import FunctionObjective, deep_linear, linear_regression, quadratic
from hf_llc.results.calibration import Calibration, Finding, SweepPoint
from hf_llc.results.estimate import Verdict
from hf_llc.sampling.chain import run_chain
from hf_llc.sampling.objective import Objective
from hf_llc.settings.data import DataSettings
from hf_llc.settings.file import read_settings
from hf_llc.settings.option import settings_in
from hf_llc.settings.overrides import requested
from hf_llc.settings.sampler import SamplerSettings
from tests.helpers.pilot_problems import calibrated, findings_of, plan_of

NAMED = {"n_beta", "gamma", "sampler", "momentum", "lr", "start", "gradient", "burn_in", "chains", "draws", "thin",
         "batch_size", "seed", "dataset", "split", "text_column", "max_sequences", "context_length"}  # fmt: skip
HALF = [1.0] * 100 + [0.0] * 100
"""λ = 50: a hundred directions of curvature 1, and a hundred that the loss does not see."""


@pytest.fixture(scope="module")
def flat_plan(tmp_path_factory: pytest.TempPathFactory) -> Plan:
    """Of a loss with a plateau."""
    return plan_of(1, tmp_path_factory.mktemp("flat"), n_beta=1e4)


@pytest.fixture(scope="module")
def flat(flat_plan: Plan) -> Calibration:
    return calibrated(flat_plan, quadratic(HALF))


@pytest.fixture(scope="module")
def steep_plan(tmp_path_factory: pytest.TempPathFactory) -> Plan:
    """Of the same loss at a temperature so high that γ decides at every γ that stays local."""
    return plan_of(1, tmp_path_factory.mktemp("steep"), n_beta=1.0)


@pytest.fixture(scope="module")
def steep(steep_plan: Plan) -> Calibration:
    return calibrated(steep_plan, quadratic(HALF))


def counted(result: Calibration) -> list[SweepPoint]:
    return [point for point in result.sweep if point.excluded is None]


def exact(point: SweepPoint) -> float:
    return quadratic_llc(HALF, 1.0, point.resolution)


def test_a_plateau_is_found_where_it_is(flat: Calibration) -> None:
    assert flat.plateau is Finding.FOUND
    assert flat.flat is not None
    # There λ̂ is 50/(1 + γ/nβ): it falls by a fifth up to γ/nβ = 0.25.
    assert flat.flat.low < 0.01
    assert 0.05 < flat.flat.high < 0.3
    assert abs(flat.flat.slope) + 2 * flat.flat.slope_stderr <= 0.2
    assert "There is a plateau from γ/nβ" in flat.plateau_reason


def test_the_slope_at_the_chosen_place_is_near_0_and_the_number_is_the_coefficient(flat: Calibration) -> None:
    chosen = next(point for point in flat.sweep if point.gamma == flat.settings["gamma"])
    assert chosen.slope is not None
    assert chosen.slope_stderr is not None
    assert chosen.slope_stderr < 0.05
    assert abs(chosen.slope) < 3 * chosen.slope_stderr + 0.05
    assert flat.pilot.stderr < 0.04 * 50
    assert abs(flat.pilot.llc - exact(chosen)) < 4 * flat.pilot.stderr
    assert abs(flat.pilot.llc - 50) < 4 * flat.pilot.stderr + 0.03 * 50


def test_without_a_plateau_the_slope_is_near_minus_1_and_the_answer_says_so(steep: Calibration) -> None:
    assert steep.plateau is Finding.NONE
    assert steep.flat is None
    assert steep.plateau_reason.startswith("There is no plateau between γ/nβ")
    chosen = next(point for point in steep.sweep if point.gamma == steep.settings["gamma"])
    assert chosen.slope is not None
    assert chosen.slope_stderr is not None
    assert chosen.slope_stderr < 0.02
    assert abs(chosen.slope + 1) < 4 * chosen.slope_stderr + 0.01


@pytest.mark.parametrize("which", ["flat", "steep"])
def test_every_point_and_every_slope_is_the_closed_form_within_its_error(
    which: str, request: pytest.FixtureRequest
) -> None:
    points = counted(request.getfixturevalue(which))
    assert len(points) >= 5
    for point in points:
        assert point.llc is not None
        assert point.stderr is not None
        assert point.stderr < 0.1 * point.llc
        assert abs(point.llc - exact(point)) < 4 * point.stderr
    for here, results in pairwise(points):
        truth = math.log(exact(results) / exact(here)) / math.log(results.gamma / here.gamma)
        assert here.slope is not None
        assert here.slope_stderr is not None
        assert here.slope_stderr < 0.05
        assert abs(here.slope - truth) < 4 * here.slope_stderr + 0.01


def test_slopes_are_far_sharper_than_the_points_they_are_between(steep: Calibration) -> None:
    for here, results in pairwise(counted(steep)):
        apart = math.hypot((here.stderr or 0) / (here.llc or 1), (results.stderr or 0) / (results.llc or 1))
        assert (here.slope_stderr or 1) < 0.3 * apart / math.log(results.gamma / here.gamma)


def test_the_sweep_goes_down_only_as_long_as_the_chains_stay_local(flat: Calibration, steep: Calibration) -> None:
    assert len(flat.sweep) == 9
    assert flat.sweep[-1].gamma / flat.sweep[0].gamma == pytest.approx(1e4, rel=0.02)
    assert len(steep.sweep) < 9
    assert [(point.excluded or "").startswith("not local") for point in steep.sweep] == [
        True,
        *[False] * (len(steep.sweep) - 1),
    ]


def test_the_quadratic_part_is_that_of_the_loss(flat: Calibration) -> None:
    for point in flat.sweep:
        assert point.quadratic is not None
        assert point.quadratic_stderr is not None
        assert point.quadratic_stderr < 0.1 * exact(point)
        assert abs(point.quadratic - exact(point)) < 4 * point.quadratic_stderr


def test_the_step_size_chosen_agrees_with_smaller_ones_and_is_stable(flat: Calibration) -> None:
    chosen = next(point for point in flat.steps if point.lr == flat.settings["lr"])
    assert chosen.agrees
    assert all(point.agrees for point in flat.steps if point.lr <= chosen.lr)
    assert [round(point.lr / flat.steps[0].lr) for point in flat.steps] == [1, 2, 4, 8]
    assert max(point.stability for point in flat.steps) < 4
    assert "unstable from" in flat.steps_reason


def rerun(result: Calibration, at: ResolvedRun, objective: Objective) -> Judged:
    """A run with the settings found and its checks, as an estimate makes it."""
    names = ("gamma", "lr", "burn_in", "draws", "thin", "chains")
    settings = replace(at.settings, **{name: result.settings[name] for name in names}, seed=1)
    zero = objective.losses(torch.zeros(1, dtype=torch.int64))
    main = [run_chain(objective, zero, settings, chain) for chain in range(settings.chains)]
    varied = {
        (each.name, chain): run_chain(objective, zero, each.settings(settings), chain, variation=each)
        for each, chain in sensitivity_chains(settings.chains, settings.draws)
    }
    return judged(replace(at, settings=settings), main, varied)


@pytest.mark.parametrize(("which", "target"), [("flat", 0.02), ("flat", 0.009), ("steep", 0.02)])
def test_a_run_with_the_settings_has_the_wanted_error(
    which: str, target: float, request: pytest.FixtureRequest
) -> None:
    request.getfixturevalue(which)
    plan: Plan = request.getfixturevalue(f"{which}_plan")
    calibration = calibrated(plan, None, target)
    assert calibration.met
    assert calibration.expected_stderr is not None
    again = rerun(calibration, findings_of(plan, None).at, quadratic(HALF))
    assert again.verdict is Verdict.CONVERGED
    assert again.llc is not None
    assert again.stderr is not None
    assert calibration.expected_stderr / 3 < again.stderr / again.llc < 1.5 * calibration.expected_stderr
    assert again.stderr / again.llc < 1.5 * target
    assert abs(again.llc - calibration.pilot.llc) < 4 * math.hypot(again.stderr, calibration.pilot.stderr)


def test_more_precision_costs_more_draws_and_no_pilot_chain(steep: Calibration, steep_plan: Plan) -> None:
    hard = calibrated(steep_plan, None, 0.005)
    assert hard.settings["draws"] > 4 * steep.settings["draws"]
    assert {**hard.settings, "draws": 0} == {**steep.settings, "draws": 0}


def test_an_error_that_the_budget_does_not_allow_is_said_with_what_will_be_reached(
    steep: Calibration, steep_plan: Plan
) -> None:
    calibration = calibrated(steep_plan, None, 0.001, budget=3000)
    assert not calibration.met
    assert calibration.gradients <= 3000
    assert calibration.expected_stderr is not None
    assert calibration.expected_stderr > 0.001
    assert f"{calibration.expected_stderr:.2%} of λ̂" in calibration.precision
    assert "It will not be reached: the budget is 3,000 gradients" in calibration.precision
    assert steep.met


def test_the_settings_file_is_read_as_what_was_found(flat: Calibration, flat_plan: Plan) -> None:
    calibrated(flat_plan, None)
    path = Path(flat.settings_file)
    assert read_settings(path) == flat.settings
    text = path.read_text(encoding="utf-8")
    assert flat.plateau_reason.split(":")[0] in " ".join(text.replace("#", " ").split())
    assert flat.settings.keys() >= NAMED
    lines = text.splitlines()
    for name in ("n_beta", "gamma", "lr", "burn_in", "draws", "thin", "sampler", "start"):
        at = next(index for index, line in enumerate(lines) if line.startswith(f"{name}:"))
        assert lines[at - 1].startswith("# "), name


def test_its_settings_are_what_a_scan_is_asked_for(flat: Calibration, flat_plan: Plan) -> None:
    calibrated(flat_plan, None)
    for given in (flat, flat.settings, flat.settings_file):
        data, sampler = requested(DataSettings(), None, given, {"seed": 5}, "scan")
        asked = {each.name: getattr(data, each.field) for each in settings_in(DataSettings)}
        asked |= {each.name: getattr(sampler, each.field) for each in settings_in(SamplerSettings)}
        assert {name: asked[name] for name in flat.settings} == {**flat.settings, "seed": 5}


def test_chains_too_short_to_tell_leave_it_undecided_and_say_what_to_do(tmp_path: Path) -> None:
    calibration = calibrated(plan_of(1, tmp_path, n_beta=1e5, draws=20), deep_linear([12, 12, 12], 6))
    assert calibration.plateau is Finding.UNDECIDED
    assert "Raise `pilot_draws`" in calibration.plateau_reason
    assert any(point.open and "not equilibrated" in (point.excluded or "") for point in calibration.sweep)


def test_gradient_noise_shows_in_the_step_size(tmp_path: Path) -> None:
    objective, _ = linear_regression(2000, 20, seed=0)
    noisy = {"batch_size": 10, "lr": 2e-4, "sampler": "sgld-lm", "gradient": "minibatch", "batches": "independent"}
    plan = plan_of(2000, tmp_path, n_beta=2000.0, gamma=200.0, draws=100, **noisy)
    calibration = calibrated(plan, objective)
    assert calibration.steps_reason.startswith("λ̂ depends on the step size over the whole range ε = ")
    assert calibration.settings["lr"] == 2e-4
    assert calibration.pilot.verdict in {"heated", "step-too-large"}


def test_what_was_asked_for_is_kept_and_called_so(tmp_path: Path) -> None:
    calibration = calibrated(plan_of(1, tmp_path, n_beta=1e4, gamma=300.0, lr=3e-5, sampler="sgld"), quadratic(HALF))
    assert {name: calibration.settings[name] for name in ("n_beta", "gamma", "lr", "sampler")} == {
        "n_beta": 1e4,
        "gamma": 300.0,
        "lr": 3e-5,
        "sampler": "sgld",
    }
    assert {calibration.reasons[name] for name in ("n_beta", "gamma", "lr", "sampler")} == {"as asked"}


def test_a_step_past_stability_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="past the stability limit"):
        findings_of(plan_of(1, tmp_path, n_beta=1e4, lr=1e-3), quadratic(HALF))


def test_a_slope_at_the_anchor_leaves_no_plateau_and_a_file_with_the_reason(tmp_path: Path) -> None:
    w = torch.full((40,), 0.5, dtype=torch.float64)
    sloped = FunctionObjective([w], 1, lambda indices: w.square().sum().div(2).expand(len(indices)))
    calibration = calibrated(plan_of(1, tmp_path, n_beta=100.0), sloped)
    assert calibration.plateau is not Finding.FOUND
    assert calibration.pilot.verdict == "not-a-minimum"
    assert read_settings(Path(calibration.settings_file)) == calibration.settings


def finite_within(radius: float) -> FunctionObjective:
    """L = ½ ‖w‖² in 20 directions, NaN from that ‖w‖ on."""
    w = torch.zeros(20, dtype=torch.float64)

    def losses_of(indices: torch.Tensor) -> torch.Tensor:
        size = w.square().sum()
        return torch.where(size > radius**2, torch.nan, size / 2).expand(len(indices))

    return FunctionObjective([w], 1, losses_of)


def test_a_gamma_too_weak_for_a_finite_loss_does_not_count(tmp_path: Path) -> None:
    calibration = calibrated(plan_of(1, tmp_path, n_beta=1.0, gamma=100.0), finite_within(0.9))
    # Twenty weights of variance 1/(1+γ) have a length of 0.9 at γ = 24. The sweep goes no further down than that.
    assert [point.excluded is None for point in calibration.sweep] == [False, *[True] * (len(calibration.sweep) - 1)]
    assert calibration.sweep[0].excluded == "chains became inf or NaN"
    assert 3 < calibration.sweep[0].gamma < 40
    assert calibration.settings["gamma"] == 100.0


def test_chains_that_die_at_the_chosen_settings_are_no_number(tmp_path: Path) -> None:
    with pytest.raises(DivergedError, match="No number at gamma 8"):
        findings_of(plan_of(1, tmp_path, n_beta=1.0, gamma=8.0, start="anchor"), finite_within(1.2))


def test_a_second_run_computes_nothing_and_says_the_same(steep: Calibration, steep_plan: Plan) -> None:
    first, second = steep.to_dict(), calibrated(steep_plan, None).to_dict()
    assert {**first, "seconds": 0} == {**second, "seconds": 0}


def test_a_folder_of_other_settings_is_refused(steep: Calibration, steep_plan: Plan) -> None:
    other = replace(steep_plan, sampler=replace(steep_plan.sampler, seed=3))
    with pytest.raises(ResourceError, match=r"other inputs \(sampler.seed: there 0, here 3\)"):
        findings_of(other, None)
    assert steep.sweep


def test_expected_errors_are_those_of_the_settings_written(flat: Calibration, flat_plan: Plan) -> None:
    outlook = findings_of(flat_plan, None).outlook
    chosen = replace(outlook.settings, draws=flat.settings["draws"], thin=flat.settings["thin"])
    assert expected_stderr(chosen, outlook.spread) / outlook.pilot.llc == pytest.approx(flat.expected_stderr)
