"""Image classification as a task: models of transformers with one class an image."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from hf_llc.checkpoints.loading.load import load_model
from hf_llc.checkpoints.source import Corpus, ModelSource
from hf_llc.errors import UnusableError
from hf_llc.settings.data import DataSettings
from hf_llc.tasks import item_cache
from hf_llc.tasks.base import Computation, Example, has_architecture
from hf_llc.tasks.image_classification import prepare
from hf_llc.tasks.image_classification.prepare import IMAGE_CLASSIFIER, LABELS
from hf_llc.tasks.image_classification.processor import PIXELS
from hf_llc.tasks.items import ItemObjective, Rows

ACTIVATIONS = 2**27
"""Numbers that modules put out in a forward pass where the micro-batch is left to choose: 512 MiB in float32."""


class ImageClassification:
    """Cross-entropy of the class of an image."""

    item = "image"
    unit = "nats per image"
    kind = IMAGE_CLASSIFIER

    def claims(self, config: Mapping[str, Any]) -> bool:
        """True if its config.json names a class for image classification."""
        return has_architecture(config, "ForImageClassification")

    def needs_tokenizer(self, data: DataSettings) -> bool:
        """False: images are made by an image processor, which `find_items` finds itself."""
        return False

    def find_items(
        self, data: DataSettings, source: ModelSource, *, tokenizer: ModelSource | None, tell: Callable[[str], None]
    ) -> Corpus:
        """Pixel values with the model's classes."""
        return prepare.find_images(data, source, tell)

    def example(self, data: DataSettings, source: ModelSource, tell: Callable[[str], None]) -> Example:
        """Images as large as the image processor makes one of 224 × 224."""
        return prepare.example(source, tell)

    def load_items(self, corpus: Corpus) -> Mapping[str, Tensor]:
        """Pixel values (n, channels, height, width) float32, and classes (n,) int64."""
        return item_cache.load(corpus)

    def labels(self, corpus: Corpus, source: ModelSource, positions: Sequence[tuple[int, int | None]]) -> Sequence[str]:
        """The number of each image with that of its class: images are in another order than in the data."""
        classes = self.load_items(corpus)[LABELS].tolist()
        return [f"{self.item} {item}, class {classes[item]}" for item, _ in positions]

    def load_model(self, source: ModelSource, device: str, devices: int) -> torch.nn.Module:
        """The classifier; its batch norm keeps the statistics of the checkpoint, as in any evaluation."""
        return load_model(source, device, devices=devices, kind=IMAGE_CLASSIFIER)

    def refuse(self, model: torch.nn.Module, items: Mapping[str, Tensor]) -> None:
        """Raise UnusableError unless the model gives each image one finite number a class, whatever else is in its
        batch, and knows all classes."""
        few = items[PIXELS][:3].to(next(model.parameters()).device)
        try:
            with torch.no_grad():
                logits = model(pixel_values=few[:2]).logits
                others = model(pixel_values=few[::2]).logits
        except (RuntimeError, ValueError, TypeError, AttributeError) as error:
            reason = " ".join(str(error).split())[:200]
            raise UnusableError(
                f"The model cannot take images of shape {tuple(few.shape[1:])} ({type(error).__name__}: {reason})."
            ) from error
        if logits.dim() != 2 or logits.shape[1] <= int(items[LABELS].max()):
            raise UnusableError(
                f"The model gives numbers of shape {tuple(logits.shape)} for 2 images, which must be one for each of "
                f"the classes 0 to {int(items[LABELS].max())}."
            )
        if not logits.isfinite().all():
            raise UnusableError("The model gives logits that are not finite; its weights hold inf or NaN, or overflow.")
        if not torch.allclose(others[0], logits[0], rtol=1e-3, atol=1e-3 * float(logits.abs().max())):
            raise UnusableError("The model's logits of an image depend on the other images of its batch.")

    def objective(
        self,
        model: torch.nn.Module,
        items: Mapping[str, Tensor],
        parameters: Sequence[Tensor],
        computation: Computation,
    ) -> ItemObjective:
        """Cross-entropy of each image."""

        def losses(rows: Rows) -> Tensor:
            logits = model(pixel_values=rows[PIXELS]).logits.float()
            return functional.cross_entropy(logits, rows[LABELS], reduction="none")

        micro_batch = computation.micro_batch_size or max(1, ACTIVATIONS // _activations(model, items[PIXELS][:1]))
        return ItemObjective(losses, parameters, items, min(micro_batch, computation.batch_size), computation.dtype)


def _activations(model: torch.nn.Module, image: Tensor) -> int:
    """Numbers that the modules of a model put out for one image: a function of shapes alone, so that every machine
    splits a batch in the same way."""
    counts = [1]

    def count(module: torch.nn.Module, inputs: Any, output: Any) -> None:
        if isinstance(output, Tensor):
            counts.append(output.numel())

    hooks = [module.register_forward_hook(count) for module in model.modules()]
    try:
        with torch.no_grad():
            model(pixel_values=image)
    finally:
        for hook in hooks:
            hook.remove()
    return sum(counts)
