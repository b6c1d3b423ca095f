"""What a user asks for: one frozen dataclass a concern, the only home of defaults; and reading settings from files."""

from hf_llc.settings.requested import CalibrationSettings as CalibrationSettings
from hf_llc.settings.requested import DataSettings as DataSettings
from hf_llc.settings.requested import ModelSettings as ModelSettings
from hf_llc.settings.requested import SamplerSettings as SamplerSettings
from hf_llc.settings.resolved import ResolvedSettings as ResolvedSettings
