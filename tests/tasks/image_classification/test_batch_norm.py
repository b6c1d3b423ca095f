"""Batch norm with statistics that are estimated anew at w*."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from hf_llc import SamplerSettings, estimate
from hf_llc.errors import SettingsError, UnusableError
from hf_llc.execution import batch_norm
from hf_llc.execution.moving_weights import MovingWeights
from hf_llc.execution.tensors import read_tensors
from hf_llc.report.card.render import Content, render_section
from hf_llc.results.curve import Curve
from hf_llc.tasks.items import ItemObjective
from tests.helpers import tiny_images
from tests.helpers.tiny_images import CHAINS, DRAWS
from tests.helpers.tiny_regression import data_of, make_model


@pytest.fixture(scope="module")
def trained() -> Any:
    """A ResNet after so few steps that its running statistics lag behind; not to be changed."""
    return tiny_images.train(tiny_images.make_model(), 12)


def images() -> tuple[Tensor, Tensor]:
    """Pixel values and classes of `tiny_images.images`."""
    rows = tiny_images.images(96)
    pixels = tiny_images.make_processor()(images=[image for image, _ in rows], return_tensors="pt")["pixel_values"]
    return pixels, torch.tensor([label for _, label in rows])


def training_loss(model: Any) -> float:
    """The loss with all images as one minibatch in training, whose statistics normalize; the model stays as it is."""
    pixels, labels = images()
    buffers = {name: buffer.clone() for name, buffer in model.named_buffers()}
    with torch.no_grad():
        loss = functional.cross_entropy(model.train()(pixel_values=pixels).logits, labels)
        for name, buffer in model.eval().named_buffers():
            buffer.copy_(buffers[name])
    return float(loss)


def save(model: Any) -> Path:
    """The model with its processor, in a folder."""
    return tiny_images.save_model(model, Path("model"), processor=tiny_images.make_processor())


def test_the_loss_at_the_checkpoint_is_that_of_training_on_all_items_at_once(trained: Any) -> None:
    data = tiny_images.save_parquet(Path("images.parquet"))
    frozen = estimate(save(trained), data, **CHAINS)
    again = estimate("model", data, batch_norm="reestimated", **CHAINS)
    assert again.init_loss == pytest.approx(training_loss(trained), rel=1e-5)
    assert abs(frozen.init_loss - again.init_loss) > 0.01
    assert (frozen.settings.batch_norm, again.settings.batch_norm) == ("frozen", "reestimated")
    assert frozen.run_dir != again.run_dir
    sentence = again.choices["batch_norm"]
    assert "6 layers normalize by mean and variance over the n = 96 images at w*" in sentence
    assert f"the loss at w* is {again.init_loss:.4g} nats per image" in sentence
    assert f"statistics of the checkpoint {frozen.init_loss:.4g}." in sentence


def test_draws_say_so_too_and_so_does_the_card(trained: Any) -> None:
    result = estimate(save(trained), tiny_images.save_parquet(Path("i.parquet")), batch_norm="reestimated", **DRAWS)
    assert result.choices["batch_norm"].startswith("batch_norm = reestimated: 6 layers")
    curve = Curve.of_estimate(result)
    text = render_section(Content(curve=curve, name="m", headline=[curve.points[-1]], home="", url=""))
    assert "Batch norm keeps the mean and variance over these images at w\\*" in text
    assert "--batch-norm reestimated" in text


def test_statistics_do_not_depend_on_the_batch_size_and_do_not_move(
    trained: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, folder = tiny_images.save_parquet(Path("images.parquet")), save(trained)
    models: list[torch.nn.Module] = []
    within_reach = MovingWeights._moving

    def moving(self: MovingWeights, model: torch.nn.Module) -> Any:
        models.append(model)
        return within_reach(self, model)

    monkeypatch.setattr(MovingWeights, "_moving", moving)
    for size in (5, 32):
        result = estimate(folder, data, batch_norm="reestimated", batch_size=size, **CHAINS)
        stored = read_tensors(Path(result.run_dir) / batch_norm.FILE)
        assert stored is not None
        running = [
            buffer for name, buffer in models[-1].named_buffers() if "num_batches" not in name
        ]  # as `reestimate` lists them: mean and variance of each layer in turn
        assert len(running) == len(stored) - 1 == 12
        assert all(torch.equal(one, other) for one, other in zip(running, stored[1:], strict=True))
    own, expected = dict(models[-1].named_buffers()), dict(trained.named_buffers())
    assert all(torch.equal(own[name], expected[name]) for name in own if "num_batches" in name)
    assert any(not torch.equal(own[name], expected[name]) for name in own)
    for one, other in zip(models[0].named_buffers(), models[1].named_buffers(), strict=True):
        assert torch.allclose(one[1], other[1], rtol=1e-5, atol=1e-6), one[0]


def test_a_resumed_run_takes_the_statistics_that_are_there(trained: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    data, folder = tiny_images.save_parquet(Path("images.parquet")), save(trained)
    first = estimate(folder, data, batch_norm="reestimated", **CHAINS)
    for part in [*Path(first.run_dir).rglob("chains/*.json"), Path(first.run_dir) / "estimate.json"]:
        part.unlink(missing_ok=True)
    monkeypatch.setattr(batch_norm, "_moments", lambda *_: pytest.fail("statistics were estimated again"))
    assert estimate(folder, data, batch_norm="reestimated", **CHAINS).llc == first.llc


def test_models_without_batch_norm_refuse_it() -> None:
    with pytest.raises(SettingsError, match="batch_norm is reestimated, but the DeepLinearModel has no batch norm"):
        estimate(make_model((3, 2)), data_of((3, 2), 40), batch_norm="reestimated", **CHAINS)


def test_it_needs_the_whole_model_in_one_process() -> None:
    with pytest.raises(SettingsError, match="batch_norm reestimated needs the whole model in one process"):
        SamplerSettings(batch_norm="reestimated", devices_per_chain=2)
    with pytest.raises(SettingsError, match="batch_norm must be one of frozen, reestimated, got 'mean'"):
        SamplerSettings(batch_norm="mean")


def objective_of(model: torch.nn.Module, rows: Tensor) -> ItemObjective:
    return ItemObjective(lambda part: model(part["x"]).square().mean(dim=1), list(model.parameters()), {"x": rows}, 7)


def test_layers_before_one_are_done_before_it(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = torch.nn.Sequential(
        torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4), torch.nn.Tanh(), torch.nn.Linear(4, 4), torch.nn.BatchNorm1d(4)
    ).eval()
    rows = torch.randn(50, 3) * 3 + 1
    change = batch_norm.reestimate(model, objective_of(model, rows), tmp_path)
    inside = model[0](rows)
    assert torch.allclose(model[1].running_mean, inside.mean(dim=0), atol=1e-5)  # type: ignore[arg-type]
    assert torch.allclose(model[1].running_var, inside.var(dim=0, unbiased=False), rtol=1e-5)  # type: ignore[arg-type]
    inside = model[3](model[2](model[1](inside)))
    assert torch.allclose(model[4].running_mean, inside.mean(dim=0), atol=1e-5)  # type: ignore[arg-type]
    # Normalized by its own mean and variance, the mean square of what the last layer puts out is 1.
    assert change.after == pytest.approx(1.0, abs=1e-3)
    assert batch_norm.reestimate(model, objective_of(model, rows), tmp_path) == change


def test_a_layer_that_is_used_twice_and_one_that_sees_nan_are_refused(tmp_path: Path) -> None:
    layer = torch.nn.BatchNorm1d(3)
    twice = torch.nn.Sequential(layer, layer).eval()
    with pytest.raises(UnusableError, match="a forward pass uses the layer 0 2 times, and its statistics"):
        batch_norm.reestimate(twice, objective_of(twice, torch.randn(10, 3)), tmp_path)
    once = torch.nn.Sequential(torch.nn.BatchNorm1d(3)).eval()
    rows = torch.randn(10, 3)
    rows[4, 1] = float("inf")
    with pytest.raises(UnusableError, match="0 sees numbers that are not finite"):
        batch_norm.reestimate(once, objective_of(once, rows), tmp_path)
