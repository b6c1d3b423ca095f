"""Causal language models: next-token cross-entropy of packed sequences, in nats per token."""

from hf_llc.tasks.text_generation.task import TextGeneration

TASK = TextGeneration()
