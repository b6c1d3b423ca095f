"""Text classification: cross-entropy of the class of each text, or pair of texts."""

from hf_llc.tasks.text_classification.task import TextClassification

TASK = TextClassification()
