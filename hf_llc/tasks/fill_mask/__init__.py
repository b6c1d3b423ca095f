"""Masked language models: cross-entropy of tokens that are replaced by the mask token, in nats per masked token."""

from hf_llc.tasks.fill_mask.task import FillMask

TASK = FillMask()
