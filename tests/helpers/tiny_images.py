"""Images of three kinds of stripes, and a tiny ResNet trained on them, saved to folders."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from PIL import Image
from transformers import ResNetConfig, ResNetForImageClassification, ViTImageProcessorPil

from hf_llc.checkpoints.loading.errors import quiet

CLASSES = ("vertical", "horizontal", "diagonal")
"""In an order that is not alphabetical."""
SIZE = 8
CHAINS: dict[str, Any] = {"sampler": "sgld-lm", "gamma": 300.0, "chains": 2, "draws": 20, "burn_in": 5, "lr": 1e-4}
DRAWS: dict[str, Any] = {"sampler": "importance", "gamma": 3000.0, "chains": 4, "draws": 16}
"""Short estimates by either kind of sampler."""


def images(count: int, seed: int = 0) -> list[tuple[Image.Image, int]]:
    """Grey images with their classes, the numbers of CLASSES in turn."""
    numbers = np.random.default_rng(seed)
    rows, columns = np.mgrid[:SIZE, :SIZE]
    images = []
    for index in range(count):
        place = (columns, rows, rows + columns)[index % 3]
        stripes = 90 * ((place + numbers.integers(4)) % 4 < 2) + numbers.normal(80, 40, (SIZE, SIZE))
        images.append((Image.fromarray(stripes.clip(0, 255).astype(np.uint8)), index % 3))
    return images


def png(image: Image.Image) -> bytes:
    """The bytes of a PNG file."""
    content = io.BytesIO()
    image.save(content, "PNG")
    return content.getvalue()


def save_parquet(path: Path, count: int = 96, seed: int = 0) -> Path:
    """A file as plain pyarrow writes one: {bytes, path} and whole numbers, without names of classes."""
    rows = images(count, seed)
    cells = [{"bytes": png(image), "path": None} for image, _ in rows]
    table: Any = pa
    pq.write_table(table.table({"image": cells, "label": [label for _, label in rows]}), path)
    return path


def save_folder(folder: Path, count: int = 96, seed: int = 0) -> Path:
    """A folder of images, one folder a class, which `datasets` numbers in alphabetical order."""
    for index, (image, label) in enumerate(images(count, seed)):
        place = folder / CLASSES[label]
        place.mkdir(parents=True, exist_ok=True)
        image.save(place / f"{index}.png")
    return folder


def make_processor(**changes: Any) -> Any:
    """The processor that goes with `make_model`."""
    settings = {"size": {"height": SIZE, "width": SIZE}, "image_mean": [0.5], "image_std": [0.5], **changes}
    return ViTImageProcessorPil(**settings)


def make_model(seed: int = 0, *, named: bool = True, channels: int = 1) -> ResNetForImageClassification:
    """A ResNet with batch norm of some two thousand weights, in eval mode, untrained."""
    names = {"id2label": dict(enumerate(CLASSES)), "label2id": {name: at for at, name in enumerate(CLASSES)}}
    config = ResNetConfig(
        num_channels=channels, embedding_size=4, hidden_sizes=[4, 8], depths=[1, 1], layer_type="basic",
        **(names if named else {"num_labels": len(CLASSES)}),
    )  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = ResNetForImageClassification(config).eval()
    assert isinstance(model, ResNetForImageClassification)
    return model


def train(model: Any, steps: int, count: int = 96) -> Any:
    """The model after so many steps on `images(count)`, in eval mode."""
    rows = images(count)
    pixels = make_processor()(images=[image for image, _ in rows], return_tensors="pt")["pixel_values"]
    labels = torch.tensor([label for _, label in rows])
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
    model.train()
    for _ in range(steps):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(model(pixel_values=pixels).logits, labels).backward()
        optimizer.step()
    return model.eval()


def save_model(model: Any, folder: Path, *, processor: Any = None) -> Path:
    """A checkpoint as the Trainer leaves it; without an image processor unless one is given."""
    with quiet():
        model.save_pretrained(folder)
        if processor is not None:
            processor.save_pretrained(folder)
    return folder
