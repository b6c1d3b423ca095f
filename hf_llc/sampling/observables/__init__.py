"""What can be recorded at a draw, each in a file of its own: a module with an `OBSERVABLE`."""

from hf_llc.sampling.observables.base import Observable
from hf_llc.settings.registry import Registry

OBSERVABLES = Registry[Observable]("hf_llc.sampling.observables", "OBSERVABLE")
"""Observables by the name that a user gives."""
