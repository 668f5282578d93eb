"""Training with the roundings of a bundle's INT8 graph."""
