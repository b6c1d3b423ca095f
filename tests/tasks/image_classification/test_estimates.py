"""Estimates of image classifiers from end to end: a tiny ResNet with batch norm, trained a few steps."""

from pathlib import Path
from typing import Any

import pytest
import torch
from datasets.arrow_dataset import Dataset
from datasets.features import ClassLabel, Features, Image

from hf_llc import DataSettings, ModelSettings, estimate, scan
from hf_llc.checkpoints.resolve import find_model
from hf_llc.execution.loaded_model import LoadedModel
from hf_llc.execution.moving_weights import MovingWeights
from hf_llc.report.card.metadata import model_entries
from hf_llc.report.card.render import Content, render_section
from hf_llc.results.curve import Curve
from hf_llc.results.progress import Observer
from hf_llc.tasks import TASKS
from hf_llc.tasks.base import Readable
from hf_llc.tasks.choose import find_items
from tests.helpers import tiny_images
from tests.helpers.tiny_images import CHAINS, DRAWS


@pytest.fixture(scope="module")
def trained() -> Any:
    """A ResNet that tells the classes apart; not to be changed."""
    return tiny_images.train(tiny_images.make_model(), 40)


def loss_of(model: Any, count: int = 96) -> float:
    """The mean loss over `tiny_images.images`, computed by hand."""
    rows = tiny_images.images(count)
    pixels = tiny_images.make_processor()(images=[image for image, _ in rows], return_tensors="pt")["pixel_values"]
    with torch.no_grad():
        logits = model(pixel_values=pixels).logits
    return float(torch.nn.functional.cross_entropy(logits, torch.tensor([label for _, label in rows])))


def test_draws_and_chains_and_the_same_run_again(trained: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    tiny_images.save_model(trained, Path("run/checkpoint-40"), processor=tiny_images.make_processor())
    # Folders are numbered in alphabetical order, in which the classes of the model are not.
    tiny_images.save_folder(Path("folder"))
    by_draws = estimate("run/checkpoint-40", "folder", **DRAWS)
    by_chains = estimate("run/checkpoint-40", "folder", **CHAINS)
    assert loss_of(trained) < 0.1
    for result in (by_draws, by_chains):
        assert result.llc is not None
        assert result.settings.n == 96
        assert (result.dataset.task, result.dataset.unit) == ("image-classification", "nats per image")
        assert "6 layers normalize by the running statistics" in result.choices["batch_norm"]
        assert "n = 96 images" in result.choices["n_beta"]
        assert "labels" not in result.choices
    assert by_chains.init_loss == pytest.approx(loss_of(trained), rel=1e-5)
    monkeypatch.setattr(LoadedModel, "load", lambda *_: pytest.fail("something was computed again"))
    again = [estimate("run/checkpoint-40", "folder", **settings) for settings in (DRAWS, CHAINS)]
    assert [each.llc for each in again] == [by_draws.llc, by_chains.llc]


def test_chains_leave_every_buffer_as_it_is(trained: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    tiny_images.save_model(trained, Path("model"), processor=tiny_images.make_processor())
    models: list[torch.nn.Module] = []
    load = MovingWeights._moving

    def moving(self: MovingWeights, model: torch.nn.Module) -> Any:
        models.append(model)
        return load(self, model)

    monkeypatch.setattr(MovingWeights, "_moving", moving)
    estimate("model", tiny_images.save_parquet(Path("images.parquet")), **CHAINS)
    (model,) = models
    expected, buffers = dict(trained.named_buffers()), dict(model.named_buffers())
    assert len(buffers) == 18
    assert [name for name, buffer in buffers.items() if not torch.equal(buffer, expected[name])] == []
    moved = dict(model.named_parameters())
    assert "num_batches_tracked" not in " ".join(moved)


def test_checkpoints_of_a_run_with_the_processor_beside_them_and_their_card(trained: Any) -> None:
    for step, model in ((10, tiny_images.train(tiny_images.make_model(), 10)), (40, trained)):
        tiny_images.save_model(model, Path(f"run/checkpoint-{step}"))
    tiny_images.make_processor().save_pretrained("run")
    told: list[str] = []

    class Listening(Observer):
        def tell(self, message: str) -> None:
            told.append(message)

    data = tiny_images.save_parquet(Path("images.parquet"))
    curve = scan("run", data, num_processes=1, observer=Listening(), **CHAINS)
    assert curve is not None
    assert [(point.step, point.llc is not None) for point in curve] == [(10, True), (40, True)]
    assert curve.points[1].loss == pytest.approx(loss_of(trained), rel=1e-5)
    assert any(message.startswith("The image processor is that of") for message in told)
    assert curve.points[1].estimate is not None
    assert curve.points[1].estimate.dataset.label_column == "label"
    (entry,) = model_entries("m", [curve.points[1]]).results
    assert entry["task"] == {"type": "image-classification", "name": "Image Classification"}
    text = arguments(curve)
    assert "loss at w\\* (nats per image)" in text
    assert "n = 96 images (fingerprint" in text
    assert "token" not in text.partition("**What the number says.**")[0].replace("token_fingerprint", "")


def arguments(curve: Curve) -> str:
    """The section of a card."""
    content = Content(curve=curve, name="m", headline=[curve.points[-1]], command="hf-llc scan", home="", url="")
    return render_section(content)


def test_classes_in_another_order_are_remarked_on(trained: Any) -> None:
    generic = tiny_images.make_model(named=False)
    generic.load_state_dict(trained.state_dict())
    tiny_images.save_model(generic, Path("model"), processor=tiny_images.make_processor())
    numbers = estimate("model", tiny_images.save_parquet(Path("images.parquet")), **CHAINS)
    assert numbers.init_loss == pytest.approx(loss_of(trained), rel=1e-5)
    assert "Classes are matched by number" in numbers.choices["text"]
    assert "labels" not in numbers.choices
    # diagonal, horizontal, vertical in alphabetical order are the classes 2, 1, 0 of the model.
    wrong = estimate("model", tiny_images.save_folder(Path("folder")), **CHAINS)
    assert wrong.init_loss > 1.1
    assert "labels are probably in another order" in wrong.choices["labels"]


def test_a_model_and_a_dataset_in_memory(trained: Any) -> None:
    rows = tiny_images.images(96)
    kinds: Any = {"image": Image(), "label": ClassLabel(names=list(tiny_images.CLASSES))}
    features = Features(kinds)  # type: ignore[no-untyped-call]
    columns = {"image": [image for image, _ in rows], "label": [label for _, label in rows]}
    data = Dataset.from_dict(columns, features=features)
    before = {name: tensor.clone() for name, tensor in trained.state_dict().items()}
    result = estimate(trained, data, tokenizer=tiny_images.make_processor(), **CHAINS)
    assert result.init_loss == pytest.approx(loss_of(trained), rel=1e-5)
    assert all(torch.equal(tensor, before[name]) for name, tensor in trained.state_dict().items())


def test_an_image_is_named_by_its_number_and_class(trained: Any) -> None:
    tiny_images.save_model(trained, Path("model"), processor=tiny_images.make_processor())
    tiny_images.save_folder(Path("folder"))
    source = find_model(ModelSettings(model="model"))
    corpus = find_items(DataSettings(dataset="folder"), source, tell=lambda message: None)
    task = TASKS["image-classification"]
    assert isinstance(task, Readable)
    classes = task.load_items(corpus)["labels"].tolist()
    assert len(set(classes[:10])) > 1
    assert task.labels(corpus, source, [(5, None), (2, None)]) == [
        f"image 5, class {classes[5]}",
        f"image 2, class {classes[2]}",
    ]
