"""Images as pixel values with the classes of a model: from files, folders and the Hub, and what is refused."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image
from torch import Tensor

from hf_llc import DataSettings, ModelSettings
from hf_llc.checkpoints.resolve import find_model
from hf_llc.checkpoints.source import Corpus
from hf_llc.errors import HfLlcError, NotFoundError, SettingsError, UnusableError
from hf_llc.tasks import TASKS
from hf_llc.tasks.choose import find_items, task_of
from tests.helpers import tiny_images
from tests.helpers.tiny_model import save_tiny_model
from tests.hub_server import fixtures
from tests.hub_server.environment import use_hub
from tests.hub_server.server import HubServer

hub_server, hub = fixtures.hub_server, fixtures.hub
arrow: Any = pyarrow


@pytest.fixture(autouse=True)
def surroundings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """An empty working directory and cache, no network."""
    use_hub(monkeypatch, "http://127.0.0.1:9", tmp_path / "hf_home")
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def model() -> Path:
    """An untrained classifier with its processor."""
    return tiny_images.save_model(tiny_images.make_model(), Path("model"), processor=tiny_images.make_processor())


def result(model: str | Path, dataset: str | Path, told: list[str] | None = None, **settings: Any) -> Corpus:
    """The items that the task of the model finds."""
    source = find_model(ModelSettings(model=str(model)))
    tell = (lambda message: None) if told is None else told.append
    return find_items(DataSettings(dataset=str(dataset), **settings), source, tell=tell)


def items_of(corpus: Corpus) -> dict[str, Tensor]:
    """Pixel values and classes."""
    return dict(TASKS[corpus.task].load_items(corpus))


def as_set(corpus: Corpus) -> set[tuple[bytes, int]]:
    """The items, whatever their order."""
    items = items_of(corpus)
    numbers: Any = items["pixel_values"].numpy()
    return {(each.tobytes(), int(label)) for each, label in zip(numbers, items["labels"], strict=True)}


def test_pixel_values_are_those_of_the_processor_and_classes_those_of_the_model(model: Path) -> None:
    corpus = result(model, tiny_images.save_parquet(Path("images.parquet"), 30))
    assert (corpus.n, corpus.text_column, corpus.context_length) == (30, "image", 1)
    expected = set()
    for image, label in tiny_images.images(30):
        pixels = (np.asarray(image, dtype=np.float64)[None] / 255 - 0.5) / 0.5
        expected.add((pixels.round(4).tobytes(), label))
    items = items_of(corpus)
    pixels = items["pixel_values"].double().numpy().round(4)
    assert {(each.tobytes(), int(label)) for each, label in zip(pixels, items["labels"], strict=True)} == expected


def test_a_folder_a_file_of_datasets_and_plain_files_give_the_same_items(model: Path) -> None:
    folder = result(model, tiny_images.save_folder(Path("folder"), 30))
    plain = result(model, tiny_images.save_parquet(Path("plain.parquet"), 30))
    rows = tiny_images.images(30)
    names = [tiny_images.CLASSES[label] for _, label in rows]
    table = arrow.table({"picture": [tiny_images.png(image) for image, _ in rows], "kind": names})
    pq.write_table(table, "bytes.parquet")
    assert as_set(folder) == as_set(plain) == as_set(result(model, "bytes.parquet"))
    assert result(model, "bytes.parquet").text_column == "picture"


def test_fewer_images_are_a_random_choice_and_none_is_sorted_by_class(model: Path) -> None:
    folder = tiny_images.save_folder(Path("folder"), 90)
    labels = items_of(result(model, folder, max_sequences=30))["labels"].tolist()
    assert len(labels) == 30
    assert min(Counter(labels).values()) >= 5
    assert len(set(items_of(result(model, folder))["labels"].tolist()[:10])) == 3


def test_images_are_made_once_and_again_when_their_file_is_damaged(
    model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = tiny_images.save_parquet(Path("images.parquet"))
    first = result(model, data)
    with monkeypatch.context() as patch:
        patch.setattr("hf_llc.tasks.image_classification.rows.open_rows", lambda *_: pytest.fail("read again"))
        assert result(model, data) == first
    content = bytearray(first.path.read_bytes())
    content[-5] ^= 1
    first.path.write_bytes(content)
    told: list[str] = []
    assert result(model, data, told) == first
    assert "does not match its fingerprint; the items are made again" in told[0]
    first.path.unlink()
    with pytest.raises(HfLlcError, match="have disappeared or changed; run the same command again"):
        items_of(first)


@pytest.mark.parametrize("channels", [1, 3])
def test_images_have_the_channels_that_the_model_takes(channels: int) -> None:
    processor = tiny_images.make_processor(image_mean=[0.5] * channels, image_std=[0.5] * channels)
    model = tiny_images.save_model(tiny_images.make_model(channels=channels), Path("model"), processor=processor)
    for mode in ("L", "RGB"):
        cells = [tiny_images.png(image.convert(mode)) for image, _ in tiny_images.images(6)]
        pq.write_table(arrow.table({"image": cells, "label": [0, 1, 2, 0, 1, 2]}), f"{mode}.parquet")
        assert items_of(result(model, f"{mode}.parquet"))["pixel_values"].shape == (6, channels, 8, 8)


def test_a_dataset_on_the_hub(model: Path, hub: HubServer) -> None:
    content = tiny_images.save_parquet(Path("train-00000-of-00001.parquet"), 30).read_bytes()
    hub.add_dataset("org/stripes", {"data/train-00000-of-00001.parquet": content})
    corpus = result(model, "org/stripes", max_sequences=4)
    assert (corpus.id, corpus.n, len(corpus.revision)) == ("org/stripes", 4, 40)
    assert not any("The first" in remark for remark in corpus.remarks)
    hub.add_dataset("org/sorted", {"train.parquet": sorted_by_class()})
    assert "The first 4 images are of 1 of 3 classes" in result(model, "org/sorted", max_sequences=4).remarks[-1]
    whole = result(model, "org/stripes")
    assert as_set(whole) == as_set(result(model, "train-00000-of-00001.parquet"))


def sorted_by_class() -> bytes:
    """A file whose rows are in the order of their classes."""
    rows = sorted(tiny_images.images(30), key=lambda row: row[1])
    cells = [tiny_images.png(image) for image, _ in rows]
    pq.write_table(arrow.table({"image": cells, "label": [label for _, label in rows]}), "sorted.parquet")
    return Path("sorted.parquet").read_bytes()


def with_config(model: Path, **entries: Any) -> Path:
    """The model with other entries in its config.json."""
    path = model / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **entries}))
    return model


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ({"problem_type": "multi_label_classification"}, "problem_type is multi_label_classification .* one class"),
        ({"problem_type": "regression"}, "problem_type is regression"),
        ({"num_channels": 4}, "num_channels in its config.json must be 1 or 3, got 4"),
        (
            {"id2label": {"0": "cat", "1": "dog", "2": "cow"}},
            "Data: diagonal, horizontal, vertical. Model: cat, dog, cow",
        ),
        ({"architectures": ["ResNetForObjectDetection"]}, "is a ResNetForObjectDetection, not a causal language model"),
    ],
)
def test_models_that_cannot_be_used(model: Path, entries: dict[str, Any], message: str) -> None:
    with pytest.raises(UnusableError, match=message):
        result(with_config(model, **entries), tiny_images.save_folder(Path("folder"), 12))


def test_a_model_without_a_processor_and_one_of_another_task() -> None:
    bare = tiny_images.save_model(tiny_images.make_model(), Path("inner/model"))
    data = tiny_images.save_parquet(Path("images.parquet"), 12)
    with pytest.raises(UnusableError, match=r"has no preprocessor_config\.json; save the image processor"):
        result(bare, data)
    with pytest.raises(SettingsError, match=r"dataset must name images for .*model, got NeelNanda/pile-10k"):
        find_items(DataSettings(), find_model(ModelSettings(model=str(bare))))
    text = save_tiny_model(Path("text"))
    with pytest.raises(UnusableError, match="is a GPTNeoXForCausalLM, not a model for image classification"):
        result(text, data, task="image-classification")
    with pytest.raises(SettingsError, match=r"got 'image-clasification'; did you mean image-classification"):
        result(text, data, task="image-clasification")
    source = find_model(ModelSettings(model=str(bare)))
    assert (task_of(source), task_of(source, "text-generation")) == ("image-classification", "text-generation")


def test_data_that_cannot_be_used(model: Path) -> None:
    cells = [tiny_images.png(image) for image, _ in tiny_images.images(4)]

    def refused(columns: dict[str, Any], message: str, **settings: Any) -> None:
        pq.write_table(arrow.table(columns), "data.parquet")
        with pytest.raises((UnusableError, NotFoundError), match=message):
            result(model, "data.parquet", **settings)

    refused({"image": cells, "label": [0, 1, 2, 3]}, "has the class 3, but model has the classes 0 to 2")
    refused({"image": cells, "label": [-1] * 4}, "-1 marks rows without a class, choose another `split`")
    refused({"image": cells, "label": [0, 1, None, 2]}, "Column label of .* has rows without a class")
    refused({"image": [*cells[:3], None], "label": [0, 1, 2, 0]}, "has rows without an image")
    refused({"image": [*cells[:3], b"no image"], "label": [0, 1, 2, 0]}, "cannot be read as images")
    refused({"image": cells, "weight": [0.5] * 4}, "has no column of classes; its columns are image, weight")
    refused({"text": ["a"] * 4, "label": [0, 1, 2, 0]}, "has no column of images; its columns are text, label")
    refused({"a": cells, "b": cells, "label": [0, 1, 2, 0]}, "several columns of images: a, b. Choose")
    refused({"image": cells, "x": [0] * 4, "y": [1] * 4}, "several columns of classes: x, y. Choose")
    refused({"image": cells, "label": [0] * 4}, "has no column lable; did you mean label", label_column="lable")
    refused({"image": cells[:1], "label": [0]}, "gives 1 images, and at least 3 are needed")
    Path("text.jsonl").write_text('{"text": "a"}\n')
    with pytest.raises(UnusableError, match=r"holds no images; name a \.parquet file, a folder of images"):
        result(model, "text.jsonl")


def test_images_of_several_sizes_are_refused() -> None:
    processor = tiny_images.make_processor(do_resize=False)
    model = tiny_images.save_model(tiny_images.make_model(), Path("model"), processor=processor)
    cells = [tiny_images.png(Image.new("L", (size, size))) for size in (8, 8, 9)]
    pq.write_table(arrow.table({"image": cells, "label": [0, 1, 2]}), "data.parquet")
    with pytest.raises(UnusableError, match=r"several sizes, \(1, 8, 8\) and \(1, 9, 9\); set do_resize"):
        result(model, "data.parquet")


def test_a_model_whose_loss_depends_on_the_batch_is_refused(model: Path) -> None:
    task = TASKS["image-classification"]
    source = find_model(ModelSettings(model=str(model)))
    items = items_of(result(model, tiny_images.save_parquet(Path("images.parquet"), 12)))
    network = task.load_model(source, "cpu", 1)
    task.refuse(network, items)
    with pytest.raises(UnusableError, match="one for each of the classes 0 to 7"):
        task.refuse(network, {**items, "labels": torch.full((12,), 7)})
    network.train()
    with pytest.raises(UnusableError, match="depend on the other images of its batch"):
        task.refuse(network, items)
