"""What a user asks for: one frozen dataclass a concern, the only home of defaults; and reading settings from files."""

from hf_llc.settings.calibration import CalibrationSettings as CalibrationSettings
from hf_llc.settings.data import DataSettings as DataSettings
from hf_llc.settings.model import ModelSettings as ModelSettings
from hf_llc.settings.resolved import ResolvedSettings as ResolvedSettings
from hf_llc.settings.sampler import SamplerSettings as SamplerSettings
