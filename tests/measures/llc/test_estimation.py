"""The Python API, in this process: what a number depends on, what it does not, and that it can be kept."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from hf_llc import DataSettings, Estimate, ModelSettings, Observer, SamplerSettings, estimate
from hf_llc.errors import DivergedError, NotFoundError, ResourceError, SettingsError, UnusableError
from hf_llc.execution.loaded_model import LoadedModel, computing
from hf_llc.execution.planning import plan
from hf_llc.execution.store import RunStore
from hf_llc.measures.llc.estimation import collect, is_finished
from hf_llc.measures.run import run_all
from hf_llc.results.estimate import ChainTrace, Status
from tests.helpers.command_line import files_of
from tests.helpers.tiny_model import jsonl, make_model, make_tokenizer, save_tiny_model

SMALL = SamplerSettings(batch_size=4, chains=2, draws=8, burn_in=2, threads=1, checks=False)


@pytest.fixture(autouse=True)
def surroundings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A cache and a working directory of this test's own."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The folder of the tiny model."""
    return str(save_tiny_model(tmp_path_factory.mktemp("estimation") / "model"))


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> DataSettings:
    """A local text."""
    path = tmp_path_factory.mktemp("estimation") / "text.jsonl"
    path.write_text(jsonl(120))
    return DataSettings(dataset=str(path))


def deltas(outcome: Estimate) -> list[tuple[float, ...]]:
    """The paired differences of every chain, as they are on disk."""
    store = RunStore(Path(outcome.run_dir), pytest.fail)
    payloads = [store.read(f"chains/{chain.chain:03d}") for chain in outcome.chains]
    return [ChainTrace.from_dict(payload or {}).deltas for payload in payloads]


def test_an_estimate_survives_its_json_form(model: str, data: DataSettings) -> None:
    result = estimate(model, data, replace(SMALL, checks=True))
    assert Estimate.from_dict(json.loads(json.dumps(result.to_dict(), allow_nan=False))) == result
    assert result.llc is not None
    kept = json.loads((Path(result.run_dir) / "estimate.json").read_bytes())["payload"]
    assert Estimate.from_dict(kept) == result


def test_checks_are_measured_beside_the_chains_and_change_none(model: str, data: DataSettings) -> None:
    plain = estimate(model, data, SMALL)
    checked = estimate(model, data, replace(SMALL, checks=True))
    names = ["step_bias", "step_size_stderr", "cold_llc"]
    assert [getattr(plain.diagnostics, name) for name in names] == [None, None, None]
    assert None not in [getattr(checked.diagnostics, name) for name in names]
    assert deltas(checked) == deltas(plain)
    assert checked.llc is not None
    assert plain.llc is not None
    assert checked.llc + (checked.diagnostics.step_correction or 0) == pytest.approx(plain.llc, rel=1e-9)
    assert list((Path(checked.run_dir) / "checks").iterdir())
    assert not (Path(plain.run_dir) / "checks").exists()


def test_a_seed_changes_the_draws_and_is_all_that_does(model: str, data: DataSettings, tmp_path: Path) -> None:
    first = estimate(model, data, SMALL)
    again = estimate(model, data, SMALL, output_dir=tmp_path / "again")
    other = estimate(model, data, replace(SMALL, seed=1))
    assert deltas(again) == deltas(first)
    assert (again.llc, again.stderr) == (first.llc, first.stderr)
    assert deltas(other) != deltas(first)
    assert other.llc != first.llc


def test_chains_differ_and_do_not_depend_on_how_many_there_are(model: str, data: DataSettings) -> None:
    four = deltas(estimate(model, data, replace(SMALL, gamma=100.0, lr=1e-4, chains=4)))
    five = deltas(estimate(model, data, replace(SMALL, gamma=100.0, lr=1e-4, chains=5)))
    assert five[:4] == four
    assert len(set(five)) == 5


def test_checkpoints_share_their_random_numbers(model: str, data: DataSettings, tmp_path: Path) -> None:
    """One weight of a second checkpoint differs by a little: under common random numbers its draws do so as well."""
    changed = make_model()
    with torch.no_grad():
        changed.get_output_embeddings().weight[7, 7] += 1e-4
    changed.save_pretrained(tmp_path / "near")
    make_tokenizer().save_pretrained(tmp_path / "near")
    chosen = replace(SMALL, gamma=100.0, lr=1e-4)
    first = deltas(estimate(model, data, chosen))
    near = deltas(estimate(str(tmp_path / "near"), data, chosen))
    assert near != first
    spread = torch.tensor(first).std()
    assert (torch.tensor(near) - torch.tensor(first)).abs().max() < 0.01 * spread


def test_the_memory_of_a_machine_does_not_change_the_draws_but_for_rounding(model: str, data: DataSettings) -> None:
    chosen = replace(SMALL, gamma=100.0, lr=1e-4)
    whole, parts = (deltas(estimate(model, data, replace(chosen, micro_batch_size=size))) for size in (4, 1))
    assert torch.allclose(torch.tensor(whole), torch.tensor(parts), atol=1e-5)


def test_the_weights_are_what_they_were_after_a_run(model: str, data: DataSettings) -> None:
    planned = plan(ModelSettings(model=model), data, SMALL)
    bench = LoadedModel(planned, "cpu")
    before = [parameter.detach().clone() for parameter in bench.objective.parameters]
    folder = {path: path.read_bytes() for path in Path(model).iterdir()}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("hf_llc.measures.llc.estimation.LoadedModel", lambda *_, **__: bench)
        estimate(model, data, SMALL)
    assert all(torch.equal(now, then) for now, then in zip(bench.objective.parameters, before, strict=True))
    assert {path: path.read_bytes() for path in Path(model).iterdir()} == folder


def test_fewer_than_two_finite_chains_raise(model: str, data: DataSettings) -> None:
    result = estimate(model, data, SMALL)
    store = RunStore(Path(result.run_dir), pytest.fail)
    trace = ChainTrace.from_dict(store.read("chains/000") or {})
    store.write("chains/000", replace(trace, status=Status.NONFINITE, failed_at=3).to_dict())
    with pytest.raises(DivergedError, match=r"fewer than two of 2 chains stayed finite \(chain 0 at step 3 became"):
        estimate(model, data, SMALL)


def test_a_checkpoint_whose_own_loss_is_nan_is_refused(data: DataSettings, tmp_path: Path) -> None:
    broken = make_model()
    with torch.no_grad():
        broken.gpt_neox.embed_in.weight[100:] = float("nan")
    broken.save_pretrained(tmp_path / "broken")
    make_tokenizer().save_pretrained(tmp_path / "broken")
    with pytest.raises(UnusableError, match=r"loss of .*broken is inf or NaN on this data: check its weights"):
        estimate(str(tmp_path / "broken"), data, SMALL)


def test_a_part_that_is_taken_away_is_an_error_and_not_a_number(model: str, data: DataSettings) -> None:
    planned = plan(ModelSettings(model=model), data, SMALL)
    run_all([planned], processes=1, observer=Observer())
    (planned.run_dir / "chains" / "001.json").unlink()
    with pytest.raises(ResourceError, match="have disappeared; run the same command again"):
        collect(planned, Observer(), 0.0)


def test_a_baseline_that_is_taken_back_is_told_when_the_number_is_there(
    model: str, data: DataSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = replace(
        SMALL, gamma=860.0, lr=1e-3, baseline="linear", sampler="sgld-lm", gradient="minibatch", batches="independent",
        start="anchor", burn_in=2,
    )  # fmt: skip
    observer = Observer()
    lines: list[str] = []
    monkeypatch.setattr(observer, "tell", lines.append)
    result = estimate(model, data, asked, observer=observer)
    assert result.settings.baseline == "linear"
    assert not [line for line in lines if "baseline" in line]
    store = RunStore(Path(result.run_dir), pytest.fail)
    trace = ChainTrace.from_dict(store.read("chains/001") or {})
    store.write("chains/001", replace(trace, broken_slopes=1).to_dict())
    back = estimate(model, data, asked, observer=observer)
    assert back.settings.baseline == "paired"
    assert [line for line in lines if "baseline" in line] == [f"{model}: {back.choices['baseline']}"]
    assert "at 1 draw the finite difference at w* is not a slope" in back.choices["baseline"]
    assert back.llc == estimate(model, data, replace(asked, baseline="paired")).llc


def test_a_run_is_finished_once_every_part_is_there(model: str, data: DataSettings) -> None:
    planned = plan(ModelSettings(model=model), data, SMALL)
    assert not is_finished(planned)
    run_all([planned], processes=1, observer=Observer())
    assert is_finished(planned)
    for name in list(files_of(planned.run_dir)):
        content = (planned.run_dir / name).read_bytes()
        (planned.run_dir / name).unlink()
        assert is_finished(planned) == (name == "inputs.json")
        (planned.run_dir / name).write_bytes(content)


def test_a_run_with_temperature_chains_of_an_earlier_version_is_resumed(model: str, data: DataSettings) -> None:
    """Its chains are kept as they are; what they have no record of is left out, and no older check is misread."""
    chosen = replace(SMALL, checks=True, n_beta=0.1, gamma=100.0)
    result = estimate(model, data, chosen)
    assert result.diagnostics.n_beta_slope is not None
    store = RunStore(Path(result.run_dir), pytest.fail)
    for name in ("chains/000", "chains/001", "checks/half-step-000", "checks/half-step-001", "checks/cold-000"):
        payload = store.read(name)
        assert payload is not None
        store.write(name, {key: value for key, value in payload.items() if key != "noise"})
    stronger = store.read("checks/stronger-000")
    assert stronger is not None
    for name in ("gamma-half", "gamma-double", "n-beta-half", "n-beta-double"):
        store.write(f"checks/{name}-000", stronger)
    store.path("checks/stronger-000").unlink()
    before = deltas(result)
    again = estimate(model, data, chosen)
    assert deltas(again) == before
    assert (again.llc, again.stderr) == (result.llc, result.stderr)
    diagnostics = replace(result.diagnostics, n_beta_slope=None, n_beta_slope_stderr=None)
    assert again.diagnostics == diagnostics


def test_threads_are_put_back_even_after_a_failure() -> None:
    before = torch.get_num_threads()
    seen = []

    def fail() -> None:
        with computing(before + 1):
            seen.append(torch.get_num_threads())
            raise SettingsError

    with pytest.raises(SettingsError):
        fail()
    assert seen == [before + 1]
    assert torch.get_num_threads() == before


def test_restricted_parameters_move_alone_and_count_alone(model: str, data: DataSettings) -> None:
    planned = plan(ModelSettings(model=model), data, replace(SMALL, params=("*mlp*",)))
    bench = LoadedModel(planned, "cpu")
    names = {name for name, _ in make_model().named_parameters() if "mlp" in name}
    assert len(bench.objective.parameters) == len(names)
    whole, part = estimate(model, data, SMALL), estimate(model, data, replace(SMALL, params=("*mlp*",)))
    assert part.diagnostics.dimension == sum(parameter.numel() for parameter in bench.objective.parameters)
    assert part.diagnostics.dimension < whole.diagnostics.dimension
    assert part.run_dir != whole.run_dir
    assert part.settings.params == "*mlp*"


def test_a_pattern_that_fits_no_parameter_is_refused(model: str, data: DataSettings) -> None:
    with pytest.raises(NotFoundError, match="matches no parameter"):
        estimate(model, data, replace(SMALL, params=("attentoin",)))


@pytest.mark.parametrize("kind", ["float64", "bfloat16", "autocast"])
def test_what_the_caller_has_set_for_work_of_their_own_changes_no_number(
    model: str, data: DataSettings, tmp_path: Path, kind: str
) -> None:
    asked = replace(SMALL, gamma=860.0, lr=1e-3, baseline="linear")
    expected = estimate(model, data, asked, output_dir=tmp_path / "plain")
    before = torch.get_default_dtype()
    try:
        if kind != "autocast":
            torch.set_default_dtype(getattr(torch, kind))
        mine = torch.get_default_dtype()
        with torch.autocast("cpu", torch.bfloat16, enabled=kind == "autocast"):
            result = estimate(model, data, asked, output_dir=tmp_path / "other")
            assert torch.is_autocast_enabled("cpu") == (kind == "autocast")
        assert torch.get_default_dtype() == mine
    finally:
        torch.set_default_dtype(before)
    assert deltas(result) == deltas(expected)
    assert result.llc == expected.llc
    assert result.diagnostics == expected.diagnostics


def test_paths_and_a_single_pattern_are_taken_as_they_are_meant(model: str, data: DataSettings, tmp_path: Path) -> None:
    asked = replace(SMALL, params="*mlp*")  # type: ignore[arg-type]
    result = estimate(Path(model), DataSettings(dataset=Path(data.dataset)), asked, output_dir=tmp_path)  # type: ignore[arg-type]
    assert (result.model, result.settings.params) == (model, "*mlp*")
