"""`component=…`: one part of a model moves, in the number, its settings and its run folder."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from hf_llc import DataSettings, Estimate, ModelSettings, SamplerSettings, estimate, find_components
from hf_llc.components.find import component_of
from hf_llc.errors import NotFoundError, SettingsError, UnusableError
from hf_llc.execution.loaded_model import LoadedModel
from hf_llc.execution.moving_weights import MovingWeights
from hf_llc.execution.planning import plan
from hf_llc.report.comparability import differences
from hf_llc.results.curve import Curve
from hf_llc.sampling.objective import dimension
from tests.helpers.tiny_model import jsonl, make_model, save_tiny_model

CHAINS = SamplerSettings(
    sampler="sgld-lm", gamma=1000.0, n_beta=30.0, lr=1e-4, burn_in=2, chains=2, draws=8, batch_size=4, threads=1,
    checks=False, gradient="minibatch", batches="independent", baseline="paired",
)  # fmt: skip
DRAWS = SamplerSettings(sampler="importance", gamma=1000.0, n_beta=30.0, chains=2, draws=4, threads=1)
HEAD = 2 * 1048
"""Weights of a head of the tiny model: 16 rows of each of three projections of 32, their biases, and 16 columns."""


@pytest.fixture(autouse=True)
def surroundings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A cache and a working directory of this test's own."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HOME", str(tmp_path / "home"))
    monkeypatch.setattr("matplotlib.figure.Figure.savefig", lambda figure, file, **options: file.write(b"blank"))
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The folder of the tiny model, with two layers of two heads."""
    return str(save_tiny_model(tmp_path_factory.mktemp("components") / "model", layers=2))


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> DataSettings:
    """A local text."""
    path = tmp_path_factory.mktemp("components") / "text.jsonl"
    path.write_text(jsonl(60))
    return DataSettings(dataset=str(path))


@pytest.mark.parametrize("sampler", [CHAINS, DRAWS], ids=["chains", "draws"])
def test_a_head_moves_alone_and_the_record_says_so(model: str, data: DataSettings, sampler: SamplerSettings) -> None:
    result = estimate(model, data, replace(sampler, component="l1h0"))
    whole = estimate(model, data, sampler)
    assert result.settings.component == "l1h0"
    assert result.diagnostics.dimension == HEAD
    assert result.choices["component"].startswith("component = l1h0: 2,096 weights of 3 tensors move and all others")
    assert result.interpretation.startswith("of l1h0 alone, given the rest of the model: ")
    assert not whole.interpretation.startswith("of ")
    assert result.llc is not None
    assert whole.llc is not None
    assert abs(result.llc) < abs(whole.llc) / 4
    assert whole.settings.component is None
    assert "component" not in whole.choices
    assert Path(result.run_dir) != Path(whole.run_dir)
    row = Curve.of_estimate(result).points[0].to_row()
    assert (row["component"], row["dimension"], row["params"]) == ("l1h0", HEAD, "")
    (sentence,) = differences(["a", "b"], [Curve.of_estimate(result), Curve.of_estimate(whole)])
    assert sentence == "What moves is only the component l1h0 for a, all weights for b: λ̂ counts different directions."


@pytest.mark.parametrize("sampler", [CHAINS, DRAWS], ids=["chains", "draws"])
def test_all_parts_together_are_the_whole(model: str, data: DataSettings, sampler: SamplerSettings) -> None:
    whole = estimate(model, data, sampler)
    full = estimate(model, data, replace(sampler, component="full"))
    assert full.llc == whole.llc
    assert full.choices["component"] == (
        f"component = full: all {whole.diagnostics.dimension:,} weights move, as without a component."
    )
    assert full.interpretation == whole.interpretation
    assert differences(["a", "b"], [Curve.of_estimate(full), Curve.of_estimate(whole)]) == []
    attention = estimate(model, data, replace(sampler, component="l0.attn+l1.attn"))
    named = estimate(model, data, replace(sampler, params=("*.attention.*",)))
    assert (attention.llc, attention.stderr) == (named.llc, named.stderr)


@pytest.mark.parametrize("prior", ["isotropic", "relative"])
def test_weights_outside_never_move_and_all_are_what_they_were_afterwards(
    model: str, data: DataSettings, prior: str
) -> None:
    asked = replace(CHAINS, component="l0h1+l1.mlp", prior=prior)
    bench = LoadedModel(plan(ModelSettings(model=model), data, asked), "cpu")
    modules: list[torch.nn.Module] = []
    moving = MovingWeights._moving

    def caught(self: MovingWeights, module: torch.nn.Module) -> Any:
        modules.append(module)
        return moving(self, module)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(MovingWeights, "_moving", caught)
        patch.setattr("hf_llc.measures.llc.estimation.LoadedModel", lambda *_, **__: bench)
        bench.load()
        (module,) = modules
        before = {name: each.detach().clone() for name, each in module.named_parameters()}
        inside = {name: torch.zeros_like(each, dtype=torch.bool) for name, each in before.items()}
        for region in component_of(module, "l0h1+l1.mlp").regions:
            region.of(inside[region.parameter]).fill_(True)
        moved: list[bool] = []

        def look(*_: Any) -> None:
            changed = {name: each != before[name] for name, each in module.named_parameters()}
            assert not any(bool((changed[name] & ~inside[name]).any()) for name in changed)
            moved.append(any(bool(each.any()) for each in changed.values()))

        module.register_forward_pre_hook(look)
        estimate(model, data, asked)
    assert sum(moved) > 10
    bench.objective.losses(torch.tensor([0]))
    assert all(torch.equal(each, before[name]) for name, each in module.named_parameters())


def test_a_relative_prior_takes_the_size_of_the_part(model: str, data: DataSettings) -> None:
    asked = replace(CHAINS, component="l0h1", prior="relative")
    bench = LoadedModel(plan(ModelSettings(model=model), data, asked), "cpu")
    # The bias of the tiny model is zero: without a size it stays at w*.
    assert dimension(bench.objective.parameters) == HEAD - 3 * 16
    assert "2,048 weights of 2 tensors" in bench.component
    assert "gpt_neox.layers.0.attention.query_key_value.bias[48:96] are zero" in bench.prior


def test_runs_without_a_component_keep_their_key_and_each_component_has_its_own(model: str, data: DataSettings) -> None:
    plain = plan(ModelSettings(model=model), data, CHAINS)
    assert "component" not in plain.inputs()["sampler"]
    names = ["l0h0", "l0h1", "l0h0+l0h1"]
    keys = {plan(ModelSettings(model=model), data, replace(CHAINS, component=name)).key for name in names}
    assert len(keys | {plain.key}) == 4


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ("l0.ffn", r"component must be a name such as l0h1, .* got 'l0.ffn'; `hf-llc components MODEL` lists"),
        ("l0h1+", r"component must be a name .*, names joined by \+, .*, got 'l0h1\+'"),
        ("heads,neurons", r"component must be a name .* separated by commas, got 'heads,neurons'"),
        ("", r"component must be a string that is not empty, got ''"),
    ],
)
def test_what_is_no_name_of_a_component_is_refused_before_anything_is_loaded(asked: str, message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        SamplerSettings(component=asked)


def test_a_component_goes_neither_with_params_nor_with_weights_spread_over_devices() -> None:
    with pytest.raises(SettingsError, match=r"component and params exclude each other, got l0h1 and \*mlp\*\."):
        SamplerSettings(component="l0h1", params=("*mlp*",))
    with pytest.raises(SettingsError, match=r"component needs the whole model in one process, got l0h1 with"):
        SamplerSettings(component="l0h1", devices_per_chain=2)


def test_a_component_that_the_model_has_not_is_refused(model: str, data: DataSettings) -> None:
    with pytest.raises(NotFoundError, match=r"component l2h0: GPTNeoXForCausalLM has 2 layers, l0 to l1\."):
        estimate(model, data, replace(DRAWS, component="l2h0"))


def test_a_component_without_a_gradient_is_refused(
    model: str, data: DataSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "hf_llc.execution.moving_weights.tensors_without_gradient", lambda each: list(range(len(each.parameters)))
    )
    with pytest.raises(UnusableError, match=r"has no gradient: `component` l0.mlp matches no weight"):
        estimate(model, data, replace(DRAWS, component="l0.mlp"))


def test_components_are_listed_without_weights(model: str) -> None:
    parts = {each.name: each for each in find_components(model)}
    assert (parts["l1h1"].kind, parts["l1h1"].weights) == ("heads", HEAD)
    assert parts["full"].weights == sum(each.numel() for each in make_model(layers=2).parameters())
    assert [each.name for each in find_components(make_model(), ["heads", "mlps"])] == ["l0h0", "l0h1", "l0.mlp"]
    with pytest.raises(SettingsError, match=r"GPTNeoXForCausalLM has no groups that are known; it has embeddings,"):
        find_components(model, "groups")
    with pytest.raises(SettingsError, match=r"kinds must be of heads, groups, .*, got neurons\."):
        find_components(model, "neurons")


def outcome(result: Estimate) -> tuple[float | None, float | None]:
    return result.llc, result.stderr


@pytest.mark.processes
def test_two_processes_give_the_number_of_one(model: str, data: DataSettings) -> None:
    asked = replace(CHAINS, component="l1h0")
    one = estimate(model, data, asked, output_dir=Path("one"))
    two = estimate(model, data, asked, output_dir=Path("two"), num_processes=2)
    assert outcome(one) == outcome(two)
