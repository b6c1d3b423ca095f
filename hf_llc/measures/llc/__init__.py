"""The local learning coefficient: estimate, verdict, forecast, calibration, validation."""
