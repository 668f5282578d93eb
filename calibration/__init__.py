"""INT8 calibration: frames to calibrate on, amax per tensor, Q/DQ pairs, sensitivity per layer, search for a mix."""
