"""Durable runs: the plan, the store of parts, the work queue, the loaded model, machines and devices."""
