"""What comes back: estimates, curves and calibrations, their columns, and the progress that is reported meanwhile."""

from hf_llc.results.calibration import Calibration as Calibration
from hf_llc.results.curve import Curve as Curve
from hf_llc.results.curve import Point as Point
from hf_llc.results.estimate import Estimate as Estimate
from hf_llc.results.estimate import Verdict as Verdict
