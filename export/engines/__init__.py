"""Engines for TensorRT 10 and 11 and for TensorRT-RTX: built from a graph, and inspected."""
