"""Causal language models: next-token cross-entropy of packed sequences, in nats per token."""
