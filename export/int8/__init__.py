"""The INT8 graph: what it is calibrated on, the search for its layers, its record, and what pages show of them."""
