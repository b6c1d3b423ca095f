"""Image classifiers of transformers: cross-entropy of the class of an image, in nats per image."""

from hf_llc.tasks.image_classification.task import ImageClassification

TASK = ImageClassification()
