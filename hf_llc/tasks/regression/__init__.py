"""Regression: ½ ‖y − f(x)‖² of deep linear networks, in nats per item."""

from hf_llc.tasks.regression.data_file import save_data
from hf_llc.tasks.regression.deep_linear import DeepLinearConfig, DeepLinearModel
from hf_llc.tasks.regression.task import Regression
from hf_llc.tasks.regression.training import train

__all__ = ["DeepLinearConfig", "DeepLinearModel", "save_data", "train"]

TASK = Regression()
