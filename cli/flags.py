"""Names of settings in messages as options: a field in Python is a flag on the command line."""

import re
from functools import cache

from hf_llc.settings.calibration import CalibrationSettings
from hf_llc.settings.data import DataSettings
from hf_llc.settings.model import ModelSettings
from hf_llc.settings.option import settings_in
from hf_llc.settings.sampler import SamplerSettings

ARGUMENTS = (
    "by", "create_pr", "dataset_repo", "device", "headline", "max_disk", "num_processes", "output_dir", "private",
    "recording", "repo", "report_to", "revisions", "settings", "shard", "step_map", "tokens_per_step",
)  # fmt: skip
"""Arguments of Python functions that are options too, beside the fields of settings dataclasses."""


@cache
def _flags() -> dict[str, str]:
    kinds = (DataSettings, ModelSettings, SamplerSettings, CalibrationSettings)  # `revision` is the model's
    arguments = {name: "--" + name.replace("_", "-") for name in ARGUMENTS}
    return arguments | {each.field: each.flag for kind in kinds for each in settings_in(kind)}


def with_flags(text: str) -> str:
    """The text with `` `gamma` `` as `--gamma` and `` `dtype=float32` `` as `--dtype float32`."""
    names = "|".join(_flags())
    return re.sub(
        rf"`({names})(?:=([^`]*))?`", lambda match: _flags()[match[1]] + (f" {match[2]}" if match[2] else ""), text
    )


def with_flag_of_rule(text: str) -> str:
    """`with_flags`, and `gamma must be …` as `--gamma must be …`."""
    rule = re.compile(rf"(?<![\w.-])({'|'.join(_flags())}) (must|plus|times)\b")
    return rule.sub(lambda match: f"{_flags()[match[1]]} {match[2]}", with_flags(text))
