"""INT8: what to calibrate on, ranges per tensor, Q/DQ pairs, sensitivity per layer, and the search for the mix."""
