"""How good is it: scores, calibration, replay."""
