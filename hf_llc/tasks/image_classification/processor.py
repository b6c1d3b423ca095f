"""The image processor of a checkpoint, which makes pixel values of images (transformers)."""

import hashlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import PIL
import torch
import transformers
from torch import Tensor
from transformers import AutoImageProcessor

from hf_llc.checkpoints.loading.config import folder_of, loading_options
from hf_llc.checkpoints.loading.errors import explained, quiet
from hf_llc.checkpoints.resolve import find_model
from hf_llc.checkpoints.source import ModelSource
from hf_llc.errors import UnusableError
from hf_llc.settings.model import ModelSettings

FILES = ("preprocessor_config.json", "processor_config.json")
PIXELS = "pixel_values"


class Processor:
    """Pixel values of images.

    Attributes:
        identity: of all that can change them.
    """

    def __init__(self, processor: Any, source: ModelSource) -> None:
        self._processor, self._source = processor, source
        settings = json.dumps(processor.to_dict(), sort_keys=True, default=str)
        versions = f"{transformers.__version__} {PIL.__version__}"
        text = f"{type(processor).__name__} {versions} {settings}"
        self.identity = f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"

    def __call__(self, images: list[Any]) -> Tensor:
        """Pixel values of images, (m, channels, height, width) float32.

        Raises:
            UnusableError: it cannot make them, or makes more than these, or images of several sizes.
        """
        with quiet(), explained(self._source, f"an image by its {FILES[0]}"):
            content = dict(self._processor(images=images))
            pixels = [np.asarray(each, dtype=np.float32) for each in content.pop(PIXELS, [])]
        if content or len(pixels) != len(images) or any(each.ndim != 3 for each in pixels):
            raise UnusableError(
                f"The image processor of {self._source.id} must give pixel_values alone, one array an image, got "
                f"{', '.join([PIXELS] * bool(pixels) + [*content])}; such models are not supported."
            )
        if sizes := {each.shape for each in pixels} - {pixels[0].shape}:
            raise UnusableError(
                f"The image processor of {self._source.id} gives images of several sizes, {pixels[0].shape} and "
                f"{min(sizes)}; set do_resize and size in its {FILES[0]}."
            )
        # Of another memory layout, sums would be rounded in another way than when they are read from a file.
        return torch.from_numpy(np.stack(pixels)).contiguous()


def load_processor(source: ModelSource, tell: Callable[[str], None]) -> Processor:
    """That of the checkpoint, else of the folder above it, else of the default branch of its repository.

    It computes with PIL wherever it runs: resizing with torchvision gives other pixel values.

    Raises:
        UnusableError: there is none, or it cannot be read. SourceError: the Hub cannot be read.
    """
    for place, folder in _places(source, tell):
        if not any((folder / name).is_file() for name in FILES):
            continue
        options = {name: value for name, value in loading_options(source).items() if name != "gguf_file"}
        with quiet(), explained(source, f"its {FILES[0]}"):
            processor = AutoImageProcessor.from_pretrained(folder, backend="pil", **options)
        if place:
            tell(f"The image processor is that of {place}; {source.id} has none of its own.")
        return Processor(processor, source)
    raise UnusableError(
        f"{source.id} has no {FILES[0]}; save the image processor that it was trained with beside it "
        "(`save_pretrained`), or pass processing_class to the Trainer."
    )


def _places(source: ModelSource, tell: Callable[[str], None]) -> Iterator[tuple[str, Path]]:
    """Folders in which it may be, each with what to call it; "" for that of the checkpoint itself.

    After those of an adapter come those of its base.
    """
    own = folder_of(source)
    yield "", own
    if source.path is not None and source.path != own:
        yield str(source.path) if source.is_local else source.id, source.path
    elif source.is_local:
        yield str(own.parent), own.parent
    if not source.is_local:
        branch = find_model(ModelSettings(model=source.id), download=False, tell=tell)
        if branch.path is not None:
            yield f"{source.id} at {branch.revision}", branch.path
    if source.base is not None:
        yield from ((place or source.base.id, folder) for place, folder in _places(source.base, tell))
